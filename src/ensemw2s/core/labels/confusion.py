"""Label models with a confusion matrix per member, fitted by expectation maximisation.

C_m[y, v] is the probability that member m answers v where the truth is y, and votes are independent given the truth:

    E   q_y ∝ s_y prod_m C_m[y, vote_m]
    M   C_m[y, v] ∝ smoothing + sum over examples with vote_m = v of q_y

started from the majority. With s the classes' frequencies it is Dawid and Skene (1979); with s a classifier's own
distribution it is Raykar et al. (2010), and GLWS (2402.01922) for noisy sources of any kind.

Experts that share a trunk err together, so that their votes are not independent and q is far too sure of itself.
"""
# The libraries leave some of their types open:
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false, reportMissingTypeStubs=false, reportAttributeAccessIssue=false

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ensemw2s.core.labels.base import Labelled, Learn, NoStudents, Votes, everything
from ensemw2s.core.labels.votes import ballots

_FLOOR = 1e-10
"""Of a probability: none is impossible, or one vote could rule a class out for good."""
_TOLERANCE = 1e-6
"""Largest change of q at which it counts as settled."""


class Fit(NamedTuple):
    """What expectation maximisation ends with."""

    soft: Float[Tensor, "items classes"]
    confusion: Float[Tensor, "experts classes classes"]
    """Row: the truth; column: the answer."""


def expectation_maximisation(
    ballot: Float[Tensor, "experts items classes"],
    prior: Float[Tensor, "items classes"] | None,
    *,
    smoothing: float | int,
    max_steps: int = 200,
) -> Fit:
    """The distribution of the truth of each example, and the members' confusion matrices.

    Args:
        ballot: one-hot answers.
        prior: s of each example; None estimates the classes' frequencies along the way.
        smoothing: pseudo-count of every cell of a confusion matrix.
    """
    q = ballot.mean(0)
    while True:
        counts = torch.einsum("iy,miv->myv", q, ballot) + smoothing
        confusion = counts.clamp_min(_FLOOR) / counts.clamp_min(_FLOOR).sum(-1, keepdim=True)
        s = q.mean(0, keepdim=True) if prior is None else prior.double()
        log_q = s.clamp_min(_FLOOR).log() + torch.einsum("miv,myv->iy", ballot, confusion.log())
        before, q = q, log_q.softmax(-1)
        max_steps -= 1
        if max_steps <= 0 or float((q - before).abs().amax()) < _TOLERANCE:
            return Fit(q, confusion)


@dataclass(frozen=True)
class DawidSkene(NoStudents):
    """Confusion matrices and the classes' frequencies, from the votes alone."""

    for_words: ClassVar[bool] = False
    smoothing: float = 0.01
    """Pseudo-count of every cell; must not be negative."""

    def __post_init__(self) -> None:
        if self.smoothing < 0:
            raise ValueError(f"dawid-skene: smoothing is {self.smoothing}; give 0 or more")

    def __call__(self, votes: Votes, learn: Learn) -> Labelled:
        return everything(expectation_maximisation(ballots(votes), None, smoothing=self.smoothing).soft)


@dataclass(frozen=True)
class Glws:
    """Confusion matrices with the student as the prior, in turns with its training."""

    for_words: ClassVar[bool] = False
    rounds: int = 2
    """Students trained on the way; 1 or more."""
    smoothing: float = 1.0
    """Pseudo-count of every cell; must not be negative."""

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.smoothing < 0:
            raise ValueError(f"glws: rounds is {self.rounds}, smoothing {self.smoothing}; give 1 and 0 or more")

    @property
    def n_students(self) -> int:
        return self.rounds

    def __call__(self, votes: Votes, learn: Learn) -> Labelled:
        ballot = ballots(votes)
        soft = ballot.mean(0)
        for _ in range(self.rounds):
            soft = expectation_maximisation(ballot, learn(everything(soft)), smoothing=self.smoothing).soft
        return everything(soft)
