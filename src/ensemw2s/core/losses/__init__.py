"""Student losses. Each is a frozen dataclass in a module of its own; `ensemw2s.tables.LOSSES` has them by name."""

from ensemw2s.core.losses.base import GlobalStats, WeakBatch, WeakToStrongLoss
from ensemw2s.core.losses.hardening import global_stats
from ensemw2s.core.losses.links import LINKS, SOFTMAX, Link
from ensemw2s.core.losses.targets import CrossEntropy, LogConf

__all__ = [
    "LINKS",
    "SOFTMAX",
    "CrossEntropy",
    "GlobalStats",
    "Link",
    "LogConf",
    "WeakBatch",
    "WeakToStrongLoss",
    "global_stats",
]
