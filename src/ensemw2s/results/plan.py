"""What `ensemw2s plan` finds."""

from ensemw2s.results.base import Record


class PlanLine(Record):
    """Some equal pieces of work of a run that has not begun."""

    stage: str
    what: str
    role: str
    count: int
    """Of all seeds, at most."""
    tokens: int
    """Of one, with repetition."""
    flops: float
    """Of one."""
    seconds: float | None
    """Of all, on this machine."""
    disk: int
    """Bytes that one leaves in the store."""


class Plan(Record):
    """What `ensemw2s plan` finds."""

    name: str
    config_hash: str
    n_seeds: int
    rows_per_seed: dict[str, int]
    pools: dict[str, int]
    expert_evaluations: int
    """Examples times experts, each expert evaluated once."""
    lines: tuple[PlanLine, ...]
    tokens: int
    flops: float
    seconds: float | None
    """None where nothing was timed."""
    loading_seconds: float
    """Spent on loading and checking models and data, which a run spends too."""
    device: str
    peak_memory: int
    """Bytes on that device."""
    disk: int
    """Bytes in the store, at most."""
    notes: tuple[str, ...]
