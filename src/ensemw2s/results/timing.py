"""What `timing.json` holds."""

from ensemw2s.results.base import Record


class StageTime(Record):
    stage: str
    seconds: float
    """Wall clock spent computing, resumed parts added up."""
    computed: int
    reused: int
    """Units of work found in the store."""


class Timing(Record):
    """What `timing.json` holds."""

    stages: tuple[StageTime, ...]
    total_seconds: float
    peak_memory_mib: float
    tokens_read: dict[str, int]
    """model name to tokens that its trunk read in this run."""
