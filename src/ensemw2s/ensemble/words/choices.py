"""Multiple-choice questions in generation: the option of the highest mean log-likelihood per token."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.ensemble.words.scores import StagedScores


@dataclass(frozen=True)
class StagedChoices:
    """Chosen option of each question, as an index into its options."""

    member: Int[Tensor, "experts rows"]
    """Choice of each member."""
    together: Int[Tensor, "experts rows"]
    """Choice of the first t experts together, for every t."""
    share: Float[Tensor, "experts rows"]
    """Confidence of that choice: its share of exp(mean log-likelihood) over the options."""


def staged_choices(scores: StagedScores, n_options: Sequence[int]) -> StagedChoices:
    """Choose the option of the highest mean log-likelihood per token, which does not favour short options.

    Args:
        scores: scores of all options of the first question, then of the second, and so on.
        n_options: number of options of each question.
    """
    alone, _ = likeliest(scores.member_gold, scores.sizes.tolist(), n_options)
    return StagedChoices(alone, *likeliest(scores.gold, scores.sizes.tolist(), n_options))


def likeliest(
    gold: Float[Tensor, "*lead tokens"], sizes: Sequence[int], n_options: Sequence[int]
) -> tuple[Int[Tensor, "*lead rows"], Float[Tensor, "*lead rows"]]:
    """Index of each question's option of the highest mean log-likelihood, and its share over the options.

    Args:
        gold: log-probabilities of the options' tokens, option after option.
        sizes: number of tokens of each option.
        n_options: number of options of each question.
    """
    means = torch.stack([part.double().mean(-1) for part in gold.split(list(sizes), dim=-1)], dim=-1)
    best = [part.softmax(-1).max(-1) for part in means.split(list(n_options), dim=-1)]
    return torch.stack([b.indices for b in best], dim=-1), torch.stack([b.values for b in best], dim=-1)


def choice_labels(choices: StagedChoices, options: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """Choices of all experts together, in the format of `write_answers`; the confidence is the option's share."""
    labels: list[dict[str, Any]] = []
    for i, texts in enumerate(options):
        answer, share = texts[int(choices.together[-1, i])], float(choices.share[-1, i])
        members = [texts[k] for k in choices.member[:, i].tolist()]
        labels.append(
            {
                "answer": answer,
                "confidence": share,
                "agreement": members.count(answer) / len(members),
                "members": members,
                "tokens": [answer],
                "token_log_probs": [float(torch.tensor(share).log())],
                "is_finished": True,
            }
        )
    return labels
