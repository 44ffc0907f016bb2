"""The protocol of label models: from the members' votes on unlabelled examples to one distribution for each.

A label model may train students on the way. It calls `learn` with labels, which trains the strong model on them and
returns that student's predictions on the same examples. Learned weights, chosen specialists and further rounds all fit
this protocol.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class Votes(NamedTuple):
    """Predictions of the members of one ensemble on the unlabelled examples."""

    member: Float[Tensor, "experts items classes"]
    """Each member's own distribution."""
    weights: Float[Tensor, " experts"]
    """Expert weights alpha in nats, none negative."""
    soft: Float[Tensor, "items classes"]
    """The ensemble's calibrated vote."""


class Labelled(NamedTuple):
    """Labels for student training."""

    soft: Float[Tensor, "items classes"]
    """Rows sum to 1. In generation they sum to at most 1, because only the texts that a member gave have a column."""
    keep: Bool[Tensor, " items"]
    """Examples to train on, at least one."""


Learn = Callable[[Labelled], Tensor]
"""Trains a student on labels and returns its probabilities [items, classes] on all examples."""


@runtime_checkable
class LabelModel(Protocol):
    """A frozen dataclass per label model; its fields are its configuration."""

    for_generation: ClassVar[bool]
    """Whether it applies to generation, where the columns of one example are other texts than those of the next."""

    @property
    def n_students(self) -> int:
        """Number of students trained on the way."""
        ...

    def __call__(self, votes: Votes, learn: Learn) -> Labelled: ...


class NoStudents:
    """Base of label models that use the votes alone."""

    for_generation: ClassVar[bool] = True

    @property
    def n_students(self) -> int:
        return 0


@dataclass(frozen=True)
class TrainsStudents:
    """Base of label models that train one student in each of several rounds."""

    for_generation: ClassVar[bool] = False
    rounds: int = 2
    """Number of students trained on the way, at least 1."""

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ValueError(f"{type(self).__name__}: rounds is {self.rounds}; give 1 or more")

    @property
    def n_students(self) -> int:
        return self.rounds


def everything(soft: Float[Tensor, "items classes"]) -> Labelled:
    """Labels that are all kept for training."""
    return Labelled(soft.float(), torch.ones(len(soft), dtype=torch.bool))
