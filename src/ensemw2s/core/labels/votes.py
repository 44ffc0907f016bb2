"""Label models that count votes: the ensemble's own vote, the majority's, and the vote by alpha."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.core.arrays import accepts_arrays
from ensemw2s.core.labels.base import Labelled, Learn, NoStudents, Votes, everything

_LEAST = 1e-12
"""Smallest weight where members abstain: those that are left may have none."""


@dataclass(frozen=True)
class Vote(NoStudents):
    """The ensemble's calibrated vote, unchanged."""

    @accepts_arrays
    def __call__(self, votes: Votes, learn: Learn) -> Labelled:
        return everything(votes.soft)


@dataclass(frozen=True)
class Majority(NoStudents):
    """Share of the members that answer each class."""

    @accepts_arrays
    def __call__(self, votes: Votes, learn: Learn) -> Labelled:
        return everything(vote_share(answers(votes), votes.member.shape[-1]))


@dataclass(frozen=True)
class Alpha(NoStudents):
    """Share of alpha of the members that answer each class; members count equally where every alpha is 0."""

    @accepts_arrays
    def __call__(self, votes: Votes, learn: Learn) -> Labelled:
        weights = votes.weights if bool(votes.weights.any()) else None
        return everything(vote_share(answers(votes), votes.member.shape[-1], weights))


def answers(votes: Votes) -> Int[Tensor, "experts items"]:
    """Likeliest class of each member, of equally likely ones the first; -1 where it abstains."""
    answer = votes.member.argmax(-1)
    return answer if votes.voted is None else answer.masked_fill(~votes.voted, -1)


def vote_share(
    answer: Int[Tensor, "experts items"], n_classes: int, weights: Float[Tensor, " experts"] | None = None
) -> Float[Tensor, "items classes"]:
    """Share of the members, or of their weights, that answers each class, in float64; -1 abstains."""
    w = torch.ones(len(answer)) if weights is None else weights
    w = w.double() / w.double().sum()
    abstains = bool((answer < 0).any())
    if abstains:
        w = w.clamp_min(_LEAST)
    share = torch.zeros(answer.shape[1], n_classes + 1, dtype=torch.float64)
    share.scatter_add_(1, answer.T % (n_classes + 1), w.expand(answer.shape[1], -1))  # -1 becomes the last column
    share = share[:, :n_classes]
    return share / share.sum(-1, keepdim=True) if abstains else share.contiguous()
