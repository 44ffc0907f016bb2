"""Label models that ask what a student so far makes of the labels.

    raven           q = softmax(sum_m w_m log p_m), w on the simplex by descent on CE(student, q)    (RAVEN)
    co-supervised   of the members the one closest in KL to the student, example by example          (2402.15505)
    next-round      the student's own distribution: it becomes the next teacher

RAVEN steps w and the student together; here they take turns, so that any training of the student will do: first a
student of the mean of the members (the warm-up), then w against it, then the next student.
"""
# The libraries leave some of their types open:
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false, reportMissingTypeStubs=false, reportAttributeAccessIssue=false

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ensemw2s.core.labels.base import Labelled, Learn, Votes, everything

_FLOOR = 1e-12


@dataclass(frozen=True)
class Raven:
    """One learned weight per member."""

    for_words: ClassVar[bool] = False
    rounds: int = 2
    """Students trained on the way; 1 or more."""
    steps: int = 100
    learning_rate: float = 0.1

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.steps < 1 or self.learning_rate <= 0:
            raise ValueError(f"raven: rounds {self.rounds}, steps {self.steps} and learning_rate must be positive")

    @property
    def n_students(self) -> int:
        return self.rounds

    def __call__(self, votes: Votes, learn: Learn) -> Labelled:
        log_probs = votes.member.double().clamp_min(_FLOOR).log()
        weights = torch.full((len(log_probs),), 1.0 / len(log_probs), dtype=torch.float64)
        for _ in range(self.rounds):
            student = learn(everything(mixed(log_probs, weights)))
            weights = simplex_weights(log_probs, student, weights, self.steps, self.learning_rate)
        return everything(mixed(log_probs, weights))


def mixed(
    log_probs: Float[Tensor, "experts items classes"], weights: Float[Tensor, " experts"]
) -> Float[Tensor, "items classes"]:
    """softmax(sum_m w_m log p_m)."""
    return torch.einsum("m,mik->ik", weights, log_probs).softmax(-1)


def simplex_weights(
    log_probs: Float[Tensor, "experts items classes"],
    student: Float[Tensor, "items classes"],
    start: Float[Tensor, " experts"],
    steps: int,
    learning_rate: float | int,
) -> Float[Tensor, " experts"]:
    """Gradient steps on the mean of CE(student, q_w), each clamped at 0 and renormalised to sum 1.

    A step that would leave no weight at all is the last one, undone.
    """
    target = student.double().clamp_min(_FLOOR).log()
    weights = start.double()
    for _ in range(steps):
        leaf = weights.detach().requires_grad_()
        loss = -(mixed(log_probs, leaf) * target).sum(-1).mean()
        (gradient,) = torch.autograd.grad(loss, leaf)
        stepped = (weights - learning_rate * gradient).clamp_min(0.0)
        if not bool(stepped.any()):
            break
        weights = stepped / stepped.sum()
    return weights


@dataclass(frozen=True)
class CoSupervised:
    """A specialist for each example, and only examples on which student and specialist agree."""

    for_words: ClassVar[bool] = False
    rounds: int = 2
    """Students trained on the way; 1 or more."""

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ValueError(f"co-supervised: rounds is {self.rounds}; give 1 or more")

    @property
    def n_students(self) -> int:
        return self.rounds

    def __call__(self, votes: Votes, learn: Learn) -> Labelled:
        labelled = everything(votes.member.double().mean(0))
        for _ in range(self.rounds):
            labelled = specialists(votes.member, learn(labelled))
        return labelled


def specialists(member: Float[Tensor, "experts items classes"], student: Float[Tensor, "items classes"]) -> Labelled:
    """Of each example the member with the least KL(student || member); kept where their answers are the same.

    Where they agree on no example, all are kept.
    """
    s = student.double().clamp_min(_FLOOR)
    distance = (s * (s.log() - member.double().clamp_min(_FLOOR).log())).sum(-1)
    chosen = member[distance.argmin(0), torch.arange(member.shape[1])]
    keep = chosen.argmax(-1) == student.argmax(-1)
    return Labelled(chosen.float(), keep if bool(keep.any()) else torch.ones_like(keep))


@dataclass(frozen=True)
class NextRound:
    """The student of the ensemble's vote teaches in its place."""

    for_words: ClassVar[bool] = True
    rounds: int = 1
    """Students trained on the way; 1 or more."""

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ValueError(f"next-round: rounds is {self.rounds}; give 1 or more")

    @property
    def n_students(self) -> int:
        return self.rounds

    def __call__(self, votes: Votes, learn: Learn) -> Labelled:
        labelled = everything(votes.soft)
        for _ in range(self.rounds):
            labelled = everything(learn(labelled))
        return labelled
