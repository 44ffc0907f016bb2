"""A vote on whole answers, for experts whose tokens are not each other's: the members of a pool of weak models.

Each expert writes its own answer, and equal texts are one answer. Among the first t experts, answer y to question x has

    p(y|x) = sum_{s<=t, y_s = y} alpha_s c_s / sum_{s<=t} alpha_s

where c_s is the probability that expert s gives its own answer (`soft`), or 1 (`hard`). So for one expert this is the
plain model: its answer, with its own probability. An expert that says nothing abstains as long as another one speaks.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.core.voting import Vote

Said = Sequence[Sequence[dict[str, Any]]]
"""By expert and question: labels of `write.write_answers` or `choices.choice_labels`, each of one expert alone."""


def token_vote(vote: Vote) -> Vote:
    """How models that write together mix their next tokens; `hard` is a vote on whole answers alone."""
    return "soft" if vote == "hard" else vote


def staged_answers(
    said: Said, expert_weights: Float[Tensor, " experts"], vote: Vote
) -> tuple[Int[Tensor, "experts questions"], Float[Tensor, "experts questions"]]:
    """The vote of the first t experts, for every t: which expert was first to give the answer that wins, and p(y|x).

    Of equals, the answer that was given first wins. As long as all weights so far are 0, they count as equal.
    """
    texts = [[label["answer"].strip() for label in labels] for labels in said]
    first = torch.tensor([[column.index(text) for text in column] for column in zip(*texts, strict=True)]).T
    silent = torch.tensor([[not text for text in row] for row in texts])
    own = torch.tensor([[label["confidence"] for label in labels] for labels in said], dtype=torch.float64)
    ballots = own if vote == "soft" else torch.ones_like(own)
    n_experts, n_questions = first.shape
    weights = expert_weights.double()
    weighted, equal = (torch.zeros(n_questions, n_experts, dtype=torch.float64) for _ in range(2))
    winners, shares, total = [], [], 0.0
    for t in range(n_experts):
        total += float(weights[t])
        weighted.scatter_add_(1, first[t, :, None], weights[t] * ballots[t, :, None])
        equal.scatter_add_(1, first[t, :, None], ballots[t, :, None])
        p = weighted / total if total > 0 else equal / (t + 1)
        # A text that nobody gave yet is below every one that somebody did, silence below every other.
        rank = torch.where(silent.T, -1.0, p)
        rank[:, t + 1 :] = -2.0
        winner = rank.argmax(1)
        winners.append(winner)
        shares.append(p.gather(1, winner[:, None])[:, 0])
    return torch.stack(winners), torch.stack(shares)


def voted_labels(said: Said, expert_weights: Float[Tensor, " experts"], vote: Vote) -> list[dict[str, Any]]:
    """All experts' common answer to each question, with the fields of `write.write_answers`.

    confidence is p(y|x); tokens and their log-probabilities are of the first expert that gave the answer.
    """
    winners, shares = (stages[-1].tolist() for stages in staged_answers(said, expert_weights, vote))
    labels: list[dict[str, Any]] = []
    for i, (winner, share) in enumerate(zip(winners, shares, strict=True)):
        given = [labels_of[i]["answer"].strip() for labels_of in said]
        agreement = given.count(given[winner]) / len(given)
        labels.append(said[winner][i] | {"confidence": share, "agreement": agreement, "members": given})
    return labels
