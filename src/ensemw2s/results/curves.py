"""What is drawn of a row: accuracy by difficulty, by confidence and by class, and what people would add."""

from ensemw2s.results.base import Interval, Record


class DifficultyBin(Record):
    low: float
    high: float
    n_items: int
    accuracy: Interval


class DifficultyCurve(Record):
    """A row's accuracy against difficulty over the tests."""

    row: str
    bins: tuple[DifficultyBin, ...]


class ReliabilityBin(Record):
    confidence: float
    accuracy: float
    n_items: int


class Reliability(Record):
    """Confidence against accuracy on the hardest test, seeds pooled."""

    row: str
    bins: tuple[ReliabilityBin, ...]


class Confusion(Record):
    """What a row answers to the items of each class of the hardest test, seeds pooled."""

    row: str
    counts: tuple[tuple[int, ...], ...]
    """True class (in the order of the task's choices) to the number of items given each class."""

    @property
    def recall(self) -> tuple[float | None, ...]:
        """Share of each class's items that are given that class; None where the test has none of it."""
        return tuple(row[k] / sum(row) if sum(row) else None for k, row in enumerate(self.counts))


class BestOfNPoint(Record):
    """Shares of questions answered truly by a choice among the first n drawn answers, over seeds."""

    n: int
    judged: Interval
    """By the answer that the judges find best."""
    majority: Interval
    """By the commonest answer."""
    any: Interval
    """By any of them: nobody who chooses among them is righter."""


class BestOfN(Record):
    """How right choices among a teacher's drawn answers to the unlabelled questions are, by how many there are."""

    teacher: str
    """An ensemble method, or `self`."""
    points: tuple[BestOfNPoint, ...]


class BudgetPoint(Record):
    n_people: float
    """Items that people answered; mean over seeds."""
    accuracy: Interval
    """Share of right labels, over seeds."""


class BudgetCurve(Record):
    """How right an ensemble's labels of the unlabelled items are when people answer some of them."""

    order: str
    """Whom they are asked by first: a router, the three ways, or chance."""
    method: str
    points: tuple[BudgetPoint, ...]
