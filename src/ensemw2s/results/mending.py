"""What students make of the labels that they learn."""

from ensemw2s.results.base import Interval, Record


class Mending(Record):
    """A student's answers to the unlabelled items, beside the labels that it learned of them."""

    row: str
    labels_right: Interval
    """Share of right labels: of what the recipe's label model made of the votes, before any selection."""
    mended: Interval | None
    """Share of the wrong labels to which the student gives the right answer; None where no label is wrong."""
    broken: Interval | None
    """Share of the right labels to which it gives a wrong answer; None where no label is right."""
    net: Interval
    """Mended less broken labels as a share of all: what it is right more often than its labels."""
    n_wrong: float
    """Wrong labels; mean over seeds."""
