"""Label models that count votes: the ensemble's own vote, the majority's, and the vote by alpha."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.core.labels.base import Labelled, Learn, NoStudents, Votes, everything


@dataclass(frozen=True)
class Vote(NoStudents):
    """The ensemble's calibrated vote, unchanged."""

    def __call__(self, votes: Votes, learn: Learn) -> Labelled:
        return everything(votes.soft)


@dataclass(frozen=True)
class Majority(NoStudents):
    """Share of the members that answer each class."""

    def __call__(self, votes: Votes, learn: Learn) -> Labelled:
        return everything(vote_share(answers(votes), votes.member.shape[-1]))


@dataclass(frozen=True)
class Alpha(NoStudents):
    """Share of alpha of the members that answer each class; members count equally where every alpha is 0."""

    def __call__(self, votes: Votes, learn: Learn) -> Labelled:
        weights = votes.weights if bool(votes.weights.any()) else None
        return everything(vote_share(answers(votes), votes.member.shape[-1], weights))


def answers(votes: Votes) -> Int[Tensor, "experts items"]:
    """Likeliest class of each member; of equally likely ones the first."""
    return votes.member.argmax(-1)


def vote_share(
    answer: Int[Tensor, "experts items"], n_classes: int, weights: Float[Tensor, " experts"] | None = None
) -> Float[Tensor, "items classes"]:
    """Share of the members, or of their weights, that answers each class, in float64."""
    w = torch.ones(len(answer)) if weights is None else weights
    w = w.double() / w.double().sum()
    share = torch.zeros(answer.shape[1], n_classes, dtype=torch.float64)
    return share.scatter_add_(1, answer.T, w.expand(answer.shape[1], -1))
