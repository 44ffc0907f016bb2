"""What a label model is: from the members' votes on unlabelled examples to one distribution for each (section 5).

A label model may ask for students: it hands out labels, the strong model learns them, and what that student then says
of the same examples comes back. So learned weights, chosen specialists and second rounds are all one kind of thing.
"""
# The libraries leave some of their types open:
# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false, reportMissingTypeStubs=false, reportAttributeAccessIssue=false

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ensemw2s.core.arrays import accepts_arrays


class Votes(NamedTuple):
    """What the members of one ensemble say of the unlabelled examples."""

    member: Float[Tensor, "experts items classes"]
    """Each member's own distribution."""
    weights: Float[Tensor, " experts"]
    """alpha of each, in nats; none is negative."""
    soft: Float[Tensor, "items classes"]
    """The ensemble's calibrated vote."""
    classes: tuple[Any, ...] | None = None
    """What each column stands for; None where that is the column's index."""

    @property
    def probabilities(self) -> Float[Tensor, "items classes"]:
        """The ensemble's calibrated distribution over the classes."""
        return self.soft

    @property
    def member_probabilities(self) -> Float[Tensor, "experts items classes"]:
        """Each member's own distribution over the classes."""
        return self.member

    @property
    def confidence(self) -> Float[Tensor, " items"]:
        """Probability of the likeliest class."""
        return self.soft.amax(-1)

    @property
    def agreement(self) -> Float[Tensor, " items"]:
        """Share of the members whose likeliest class is the ensemble's."""
        return (self.member.argmax(-1) == self.soft.argmax(-1)).float().mean(0)

    @property
    def labels(self) -> list[Any]:
        """The likeliest class of each item."""
        columns = self.soft.argmax(-1).tolist()
        return columns if self.classes is None else [self.classes[column] for column in columns]


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


@accepts_arrays
def everything(soft: Float[Tensor, "items classes"]) -> Labelled:
    """Labels that are all learned from."""
    return Labelled(soft.float(), torch.ones(len(soft), dtype=torch.bool))
