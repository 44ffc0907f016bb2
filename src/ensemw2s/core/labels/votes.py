"""Label models that count votes: the ensemble's own vote, the majority's, and the vote by alpha."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.core.labels.base import Labelled, Learn, NoStudents, Votes, everything


@dataclass(frozen=True)
class Vote(NoStudents):
    """The ensemble's own calibrated vote, as it stands."""

    def __call__(self, votes: Votes, learn: Learn) -> Labelled:
        return everything(votes.soft)


@dataclass(frozen=True)
class Majority(NoStudents):
    """The share of the members whose answer is y."""

    def __call__(self, votes: Votes, learn: Learn) -> Labelled:
        return everything(vote_share(answers(votes), votes.member.shape[-1]))


@dataclass(frozen=True)
class Alpha(NoStudents):
    """The share of alpha of the members whose answer is y; all count alike where every alpha is 0."""

    def __call__(self, votes: Votes, learn: Learn) -> Labelled:
        weights = votes.weights if bool(votes.weights.any()) else None
        return everything(vote_share(answers(votes), votes.member.shape[-1], weights))


def answers(votes: Votes) -> Int[Tensor, "experts items"]:
    """The class that each member holds likeliest; of equal ones the first."""
    return votes.member.argmax(-1)


def vote_share(
    answer: Int[Tensor, "experts items"], n_classes: int, weights: Float[Tensor, " experts"] | None = None
) -> Float[Tensor, "items classes"]:
    """Share of the members, or of their weights, that answer each class; in float64."""
    w = torch.ones(len(answer)) if weights is None else weights
    w = w.double() / w.double().sum()
    share = torch.zeros(answer.shape[1], n_classes, dtype=torch.float64)
    return share.scatter_add_(1, answer.T, w.expand(answer.shape[1], -1))
