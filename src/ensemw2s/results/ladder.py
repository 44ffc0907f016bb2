"""The typed record of a replication: `ladder.json` is this, and its tables read it."""

from typing import Literal

from ensemw2s.results.base import Interval, Record

LADDER_VERSION = 1


class Gain(Record):
    """The boosted side minus the single one on one test, paired by seed and item."""

    of: Literal["ensemble", "student"]
    """`ensemble`: the boosted vote minus the single expert; `student`: their students."""
    part: str
    boosted: tuple[float, ...]
    """Accuracy in every seed, also where the rung reports the first alone."""
    single: tuple[float, ...]
    n_experts: tuple[int, ...]
    """T of the boosted side in every seed."""
    difference: Interval
    """Over the seeds that the rung reports, the first ones."""


class LadderRung(Record):
    """One way to count the gain."""

    change: str
    """What it undoes of the rung before it; empty for the first."""
    n_seeds: int
    """How many seeds it reports."""
    gains: tuple[Gain, ...]
    runs: tuple[str, ...]
    """The folders that it reads, below the ladder's."""


class Ladder(Record):
    schema_version: int = LADDER_VERSION
    name: str
    config_hash: str
    seeds: tuple[int, ...]
    metric: str
    weak: str
    strong: str
    rungs: tuple[LadderRung, ...]
    left_out: tuple[str, ...]
    """Changes of the published accounting that would change nothing here."""
