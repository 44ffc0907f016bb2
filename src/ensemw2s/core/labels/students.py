"""Label models that use the predictions of students trained on the way.

    raven           q = softmax(sum_m w_m log p_m), w on the simplex by descent on CE(f, q)     (RAVEN, 2510.21332)
    co-supervised   of the members the one closest in KL to the student, example by example          (2402.15505)
    next-round      the student's predictions become the next labels

RAVEN updates w and the student together. Here they take turns, so that any training procedure of the student fits: a
student of the even mixture first (the warm-up), then w given that student, then the next student. RAVEN clamps w at 0
and divides by the sum, which leads away from the minimum where scaling all of w lowers the loss. Here w is projected to
the nearest point of the simplex, and a step that would raise the loss is halved.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ensemw2s.core.arrays import accepts_arrays
from ensemw2s.core.labels.base import Labelled, Learn, TrainsStudents, Votes, everything

_FLOOR = 1e-12
_ROWS = 4096
"""Examples whose mixture is held in float64 at once."""
_SETTLED = 1e-7
"""Largest change of a weight at which descent has converged."""


@dataclass(frozen=True)
class Raven(TrainsStudents):
    """A geometric mixture of the members with one learned weight each."""

    steps: int = 100
    """Largest number of descent steps on the weights after each student, at least 1."""
    learning_rate: float = 0.1
    """Step size of the first step; each later one starts from twice the last that lowered the loss. Above 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or self.learning_rate <= 0:
            raise ValueError(f"raven: steps is {self.steps}, learning_rate {self.learning_rate}; both must be positive")

    @accepts_arrays
    def __call__(self, votes: Votes, learn: Learn) -> Labelled:
        log_probs = votes.member.clamp_min(_FLOOR).log()
        weights = torch.full((len(log_probs),), 1.0 / len(log_probs), dtype=torch.float64)
        for _ in range(self.rounds):
            student = learn(everything(mixed(log_probs, weights)))
            weights = simplex_weights(log_probs, student, weights, self.steps, self.learning_rate)
        return everything(mixed(log_probs, weights))


def mixed(
    log_probs: Float[Tensor, "experts items classes"], weights: Float[Tensor, " experts"]
) -> Float[Tensor, "items classes"]:
    """softmax(sum_m w_m log p_m)."""
    parts = [torch.einsum("m,mik->ik", weights, part.double()).softmax(-1) for part in log_probs.split(_ROWS, dim=1)]
    return torch.cat(parts)


def simplex_weights(
    log_probs: Float[Tensor, "experts items classes"],
    student: Float[Tensor, "items classes"],
    start: Float[Tensor, " experts"],
    steps: int,
    learning_rate: float | int,
) -> Float[Tensor, " experts"]:
    """Projected gradient descent on the mean of CE(f, q_w) over w >= 0, sum w = 1. The loss never rises.

    A step costs one pass over [experts, items, classes], and one more for each time it is halved.
    """
    weights, rate = start.double(), float(learning_rate)
    loss, slope = loss_and_slope(log_probs, student, weights)
    for _ in range(steps):
        while True:
            tried = nearest_on_simplex(weights - rate * slope)
            moved = tried - weights
            if float(moved.abs().amax()) < _SETTLED:
                return weights
            tried_loss, tried_slope = loss_and_slope(log_probs, student, tried)
            # Sufficient decrease: the quadratic of curvature 1 / rate must lie above the loss there.
            if tried_loss <= loss + float(slope @ moved + 0.5 / rate * moved @ moved):
                break
            rate /= 2
        weights, loss, slope, rate = tried, tried_loss, tried_slope, 2 * rate
    return weights


def loss_and_slope(
    log_probs: Float[Tensor, "experts items classes"],
    student: Float[Tensor, "items classes"],
    weights: Float[Tensor, " experts"],
) -> tuple[float, Float[Tensor, " experts"]]:
    """The mean of -sum_y q_y log f_y, and its derivative with respect to w_m: the mean of -Cov_q(log p_m, log f)."""
    loss, slope = 0.0, torch.zeros_like(weights)
    for part, student_part in zip(log_probs.split(_ROWS, dim=1), student.split(_ROWS), strict=True):
        log_p, log_f = part.double(), student_part.double().clamp_min(_FLOOR).log()
        q = torch.einsum("m,mik->ik", weights, log_p).softmax(-1)
        mean = (q * log_f).sum(-1, keepdim=True)
        loss -= float(mean.sum())
        slope -= torch.einsum("mik,ik->m", log_p, q * (log_f - mean))
    return loss / len(student), slope / len(student)


def nearest_on_simplex(point: Float[Tensor, " experts"]) -> Float[Tensor, " experts"]:
    """Euclidean projection onto the simplex (weights >= 0 with sum 1): max(point - shift, 0)."""
    ordered = point.sort(descending=True).values
    shift = (ordered.cumsum(0) - 1.0) / torch.arange(1, len(point) + 1, dtype=point.dtype)
    return (point - shift[ordered > shift][-1]).clamp_min(0.0)


@dataclass(frozen=True)
class CoSupervised(TrainsStudents):
    """Labels of one specialist per example; examples on which student and specialist disagree are dropped."""

    @accepts_arrays
    def __call__(self, votes: Votes, learn: Learn) -> Labelled:
        member, voted = votes.member, votes.voted
        if voted is None:
            mean = member.double().mean(0)
        else:
            mean = (member.double() * voted[:, :, None]).sum(0) / voted.sum(0)[:, None]
        labelled = everything(mean)
        for _ in range(self.rounds):
            labelled = specialists(member, learn(labelled), voted)
        return labelled


def specialists(
    member: Float[Tensor, "experts items classes"],
    student: Float[Tensor, "items classes"],
    voted: Bool[Tensor, "experts items"] | None = None,
) -> Labelled:
    """Label each example with the voting member of least KL(student || member); keep it where their answers agree.

    Where they agree on no example, all are kept.
    """
    s = student.double().clamp_min(_FLOOR)
    distance = (s * (s.log() - member.double().clamp_min(_FLOOR).log())).sum(-1)
    if voted is not None:
        distance = distance.masked_fill(~voted, torch.inf)
    chosen = member[distance.argmin(0), torch.arange(member.shape[1])]
    keep = chosen.argmax(-1) == student.argmax(-1)
    return Labelled(chosen.float(), keep if bool(keep.any()) else torch.ones_like(keep))


@dataclass(frozen=True)
class NextRound(TrainsStudents):
    """The predictions of the student that was trained on the ensemble's vote."""

    for_generation: ClassVar[bool] = True
    rounds: int = 1
    """Number of students trained one after another, at least 1."""

    @accepts_arrays
    def __call__(self, votes: Votes, learn: Learn) -> Labelled:
        labelled = everything(votes.soft)
        for _ in range(self.rounds):
            labelled = everything(learn(labelled))
        return labelled
