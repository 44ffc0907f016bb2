"""What `ensemw2s compare` finds among finished runs."""

from ensemw2s.results.base import Interval, Record


class RunLine(Record):
    """Main figures of one run on the OOD test."""

    run: str
    row: str
    """The recommended row."""
    labels: dict[str, str]
    """Row key to its name for readers, of the rows of `accuracy`."""
    n_seeds: int
    metric: str
    """Name of the metric in the table: accuracy, or exact match in generation."""
    accuracy: dict[str, Interval]
    """Row key to the metric on the OOD test, for the recommended row, strong-on-easy and the ceiling."""


class RunPair(Record):
    """Paired difference of two runs (first minus second): the metric of their recommended rows on the OOD test."""

    first: str
    second: str
    difference: Interval | None
    reason: str
    """Why there is none."""


class RunComparison(Record):
    """What `ensemw2s compare` finds."""

    lines: tuple[RunLine, ...]
    pairs: tuple[RunPair, ...]
    skipped: tuple[str, ...] = ()
    """Folders without a finished run."""
