"""Single items to look at, with what everybody answers to them."""

from pydantic import Field

from ensemw2s.results.base import Record


class LabelledText(Record):
    text: str
    label: str


class Item(Record):
    """One unlabelled item of the first seed, with what everybody answers to it."""

    id: str
    text: str
    label: str
    """What the student learns of it: the ensemble's, outside voters joined."""
    members: tuple[str, ...]
    """Each voting expert's own answer."""
    votes: dict[str, str] = Field(default_factory=dict)
    """Outside voter to its vote, of those that voted."""
    on_easy: str
    """The answer of the strong model that learned the easy labels."""
    student: str | None
    """The student's; None where students are not asked (answers in words)."""
    truth: str | None
    """None where nobody knows it, as below."""
    is_right: bool | None
    """Whether the label is true."""
    student_is_right: bool | None
    kinds: tuple[str, ...] = ()
    """Which of `Items.counts` it is one of."""


class Items(Record):
    """A few hundred unlabelled items of the first seed, those first from which one learns most."""

    method: str
    """The ensemble that labels them."""
    student: str | None
    """Row of the student."""
    n_items: int
    """Of the seed, of which `items` are some."""
    counts: dict[str, int]
    """Among all of them: `mended` and `broken` labels (by the student; where the truth is known), and `disagree`."""
    items: tuple[Item, ...]


class AnswerSample(Record):
    """One unlabelled question of the boosted ensemble's first seed, with what its members and their vote wrote."""

    question: str
    truth: str | None
    """None where nobody knows it."""
    answer: str
    members: tuple[str, ...]
    """Each voting expert's own answer."""
    is_right: bool | None
    tokens: tuple[str, ...]
    probabilities: tuple[float, ...]
    """Of each token under the mixture; one more than tokens where the end token came."""
