"""What `ensemw2s compare` finds among finished runs."""

from ensemw2s.results.base import Interval, Record


class RunLine(Record):
    """One run's main figures on the hard test."""

    run: str
    row: str
    """The recommended row."""
    n_seeds: int
    accuracy: dict[str, Interval]
    """Row key to OOD accuracy, for the recommended row, strong-on-easy and the ceiling."""


class RunPair(Record):
    """A paired difference in OOD accuracy between the recommended rows of two runs (first minus second)."""

    first: str
    second: str
    difference: Interval | None
    reason: str
    """Why there is none."""


class RunComparison(Record):
    """What `ensemw2s compare` finds."""

    lines: tuple[RunLine, ...]
    pairs: tuple[RunPair, ...]
