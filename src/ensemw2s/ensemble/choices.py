"""Questions with options: the likeliest option, normalised by its length, from one evaluation of each expert."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.ensemble.scores import StagedScores


@dataclass(frozen=True)
class StagedChoices:
    """Which option of each question is taken, by place."""

    member: Int[Tensor, "experts rows"]
    together: Int[Tensor, "experts rows"]
    """By the first t experts together, for every t."""
    share: Float[Tensor, "experts rows"]
    """Of the option that was taken by the first t: its share of exp(mean log-likelihood) over the options."""


def staged_choices(scores: StagedScores, n_options: Sequence[int]) -> StagedChoices:
    """The option of the highest mean log-likelihood per token, so that short ones do not win.

    Args:
        scores: of every option of the first question, then of the second, and so on.
        n_options: of each question.
    """
    sizes = scores.sizes.tolist()
    member, together = (
        torch.stack([part.double().mean(-1) for part in gold.split(sizes, dim=-1)], dim=-1)
        for gold in (scores.member_gold, scores.gold)
    )
    alone = [part.argmax(-1) for part in member.split(list(n_options), dim=-1)]
    shares = [part.softmax(-1).max(-1) for part in together.split(list(n_options), dim=-1)]
    return StagedChoices(
        torch.stack(alone, dim=-1),
        torch.stack([s.indices for s in shares], dim=-1),
        torch.stack([s.values for s in shares], dim=-1),
    )


def choice_labels(choices: StagedChoices, options: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """What all experts together take, in the form of `write_answers`; the confidence is the option's share."""
    labels: list[dict[str, Any]] = []
    for i, each in enumerate(options):
        answer, share = each[int(choices.together[-1, i])], float(choices.share[-1, i])
        members = [each[k] for k in choices.member[:, i].tolist()]
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
