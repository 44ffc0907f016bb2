"""What `progress.json` holds: how far a run is."""

from ensemw2s.results.base import Record


class Work(Record):
    """A piece of work, and how much of it is done."""

    what: str
    unit: str
    done: int
    total: int | None
    """None where nobody knows."""
    seconds: float
    """Since it began."""
    left: float | None
    """Seconds until it is done, by the pace of late; None where that cannot be told."""


class Progress(Record):
    """How far a run was when it last said so. Whether it still runs its lock says."""

    time: float
    """Seconds since 1970."""
    work: tuple[Work, ...]
    """A stage, then what is worked at within it, each within the one before."""
