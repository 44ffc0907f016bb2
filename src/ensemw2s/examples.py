"""A data set as the package sees it: questions, and what the reader of a report must know about them."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Example:
    """One question: of a choice task (one of the classes is the answer) or of a free one (a text is)."""

    id: str
    """Unique in the data set; a label is traced back to its question by it."""
    group_id: str
    """What must not be torn apart by a split: the question, the city."""
    prompt: str
    """The whole text that the model reads."""
    choices: tuple[str, ...] | None = None
    """Choice tasks: the classes, in order. Free tasks: the options that this question lists, where it lists any."""
    answer: str | None = None
    """The true answer, one of `choices` where there are choices; None where it is unknown or sealed."""
    difficulty: float | None = None
    """Larger is harder; None until rated."""


@dataclass(frozen=True, slots=True)
class Task:
    """A data set with what a reader of the report must know about it."""

    name: str
    examples: tuple[Example, ...]
    choices: tuple[str, ...]
    """The classes, shared by all examples: class k is `choices[k]`. Of a free task: the sorted distinct answers, a
    table by which the split seals them."""
    source: str
    """Where the data come from and under which licence, as the report prints it."""
    difficulty_meaning: str
    """What difficulty is measured by, as the report prints it."""
    split_uses_labels: bool = False
    """True where the difficulty was computed from the true labels of the hard side."""
    answer_form: Literal["choice", "free"] = "choice"
    """`choice`: a class of the whole prompt; `free`: a text that follows the prompt after a space."""
    verifier: Literal["text", "number"] = "text"
    """Free tasks: what of a given answer must equal the true one, the whole text or its final number."""
    unlabelled: tuple[Example, ...] = ()
    """The hard side, where it comes as questions without answers; `examples` are the easy side then."""
    test: tuple[Example, ...] = ()
    """With `unlabelled`: labelled questions of that kind, where there are any."""
    notes: tuple[str, ...] = ()
    """What of the data a user must hear before trusting a figure: rows left out, spellings merged, contradictions."""
