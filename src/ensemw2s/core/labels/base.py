"""What a label model is: from the members' votes on unlabelled examples to one distribution for each.

A label model may ask for students: it hands out labels, the strong model learns them, and what that student then says
of the same examples comes back. So learned weights, chosen specialists and second rounds are all one kind of thing.
"""

from collections.abc import Callable
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class Votes(NamedTuple):
    """What the members of one ensemble say of the unlabelled examples."""

    member: Float[Tensor, "experts items classes"]
    """Each member's own distribution."""
    weights: Float[Tensor, " experts"]
    """alpha of each, in nats; none is negative."""
    soft: Float[Tensor, "items classes"]
    """The ensemble's calibrated vote."""


class Labelled(NamedTuple):
    """Labels to learn from."""

    soft: Float[Tensor, "items classes"]
    """Rows sum to 1; of answers in words to at most 1, because texts that nobody gave have no column."""
    keep: Bool[Tensor, " items"]
    """The examples to learn from; at least one."""


Learn = Callable[[Labelled], Tensor]
"""Trains a student on labels; gives its distribution [items, classes] over all the examples."""


@runtime_checkable
class LabelModel(Protocol):
    """A frozen dataclass per label model; its fields are its configuration."""

    for_words: ClassVar[bool]
    """Whether it can decide among texts: the classes of one example are then not those of another."""

    @property
    def n_students(self) -> int:
        """Students that are trained on the way."""
        ...

    def __call__(self, votes: Votes, learn: Learn) -> Labelled: ...


class NoStudents:
    """A label model that looks at the votes alone."""

    for_words: ClassVar[bool] = True

    @property
    def n_students(self) -> int:
        return 0


def everything(soft: Float[Tensor, "items classes"]) -> Labelled:
    """Labels that are all learned from."""
    return Labelled(soft.float(), torch.ones(len(soft), dtype=torch.bool))
