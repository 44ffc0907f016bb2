"""The protocol of label models: from the members' votes on unlabelled examples to one distribution for each.

A label model may train students on the way. It calls `learn` with labels, which trains the strong model on them and
returns that student's predictions on the same examples. Learned weights, chosen specialists and further rounds all fit
this protocol.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ensemw2s.core.arrays import accepts_arrays


class Votes(NamedTuple):
    """Predictions of the members of one ensemble on the unlabelled examples."""

    member: Float[Tensor, "experts items classes"]
    """Each member's own distribution."""
    weights: Float[Tensor, " experts"]
    """Expert weights alpha in nats, none negative."""
    soft: Float[Tensor, "items classes"]
    """The ensemble's calibrated vote."""
    classes: tuple[Any, ...] | None = None
    """What each column stands for; None where that is the column's index."""
    voted: Bool[Tensor, "experts items"] | None = None
    """False where a member abstains, whose distribution is then uniform; None where all vote on everything."""
    judged: Callable[[], Float[Tensor, "judges items classes"]] | None = None
    """Scores of the judges, higher is better and -inf where a column has no answer; None where nobody judges."""

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
        """Of the members that vote, the share whose likeliest class is the ensemble's."""
        return agreement(self.member, self.soft.argmax(-1), self.voted).float()

    @property
    def labels(self) -> list[Any]:
        """The likeliest class of each item."""
        columns = self.soft.argmax(-1).tolist()
        return columns if self.classes is None else [self.classes[column] for column in columns]


def agreement(
    member: Float[Tensor, "experts items classes"],
    answer: Int[Tensor, " items"],
    voted: Bool[Tensor, "experts items"] | None = None,
) -> Float[Tensor, " items"]:
    """Of the members that vote, the share whose likeliest class is the answer, in float64."""
    agrees = (member.argmax(-1) == answer).double()
    return agrees.mean(0) if voted is None else (agrees * voted).sum(0) / voted.sum(0)


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
    reads_judges: ClassVar[bool] = False
    """Whether it asks for `Votes.judged`; a label model that does not say so does not."""

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


@accepts_arrays
def everything(soft: Float[Tensor, "items classes"]) -> Labelled:
    """Labels that are all kept for training."""
    return Labelled(soft.float(), torch.ones(len(soft), dtype=torch.bool))
