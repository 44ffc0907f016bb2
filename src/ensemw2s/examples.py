"""A data set as the package sees it: questions, and what the reader of a report must know about them."""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Example:
    """One question of a choice task (the answer is a class) or of a free task (the answer is a text)."""

    id: str
    """Unique in the data set; links a label to its question."""
    group_id: str
    """Group that a split keeps together, such as the question or the city."""
    prompt: str
    """Whole text that the model reads."""
    choices: tuple[str, ...] | None = None
    """Choice tasks: the classes, in order. Free tasks: the options that this question lists, where it lists any."""
    answer: str | None = None
    """The true answer, one of `choices` where there are choices; None where it is unknown or sealed."""
    difficulty: float | None = None
    """Larger is harder; None until rated."""


@dataclass(frozen=True, slots=True)
class Wording:
    """What of a prompt may be worded otherwise."""

    texts: tuple[str, ...]
    render: Callable[[Sequence[str]], str]
    """The prompt with other texts in the place of these."""


@dataclass(frozen=True, slots=True)
class VoteTable:
    """Votes of outside voters on a task's examples, as columns: of votes, and of their entries.

    A vote for one class has one entry, a distribution one for each class that it does not rule out.
    """

    voters: tuple[str, ...]
    """Names, sorted."""
    ids: tuple[str, ...]
    """Examples that have votes."""
    voter: "array[int]"
    """Of each vote, its place in `voters`."""
    example: "array[int]"
    """Of each vote, its place in `ids`."""
    vote: "array[int]"
    """Of each entry, its vote."""
    choice: "array[int]"
    """Of each entry, its class."""
    probability: "array[float]"
    """Of each entry; those of a vote add up to 1."""


@dataclass(frozen=True, slots=True)
class Task:
    """A data set with the facts about it that the report states."""

    name: str
    examples: tuple[Example, ...]
    choices: tuple[str, ...]
    """Classes of all examples; class k is `choices[k]`. In a free task the sorted distinct answers, by which the split
    seals them."""
    source: str
    """Source and licence of the data, as the report states them."""
    difficulty_meaning: str
    """How difficulty is measured, as the report states it."""
    split_uses_labels: bool = False
    """Whether difficulty was computed from the true labels of the hard examples."""
    answer_form: Literal["choice", "free"] = "choice"
    """`choice`: a class of the whole prompt; `free`: a text that follows the prompt after a space."""
    verifier: Literal["text", "number"] = "text"
    """Free tasks: whether the whole text of an answer must equal the true one, or its final number."""
    unlabelled: tuple[Example, ...] = ()
    """Hard questions, where the data have them apart; `examples` are then the easy ones. Either none of them has an
    answer, or all have one, which the split seals."""
    test: tuple[Example, ...] = ()
    """With `unlabelled`: labelled hard questions, where there are any."""
    notes: tuple[str, ...] = ()
    """Warnings about the data: rows left out, spellings merged, contradictions."""
    votes: VoteTable | None = None
    """Choice tasks: votes of outside voters, which join the models' labels of unlabelled examples."""
