"""Student losses by name. A new one is a frozen dataclass in a module of its own and a line here."""

from ensemw2s.core.losses.base import GlobalStats, WeakBatch, WeakToStrongLoss
from ensemw2s.core.losses.evidential import Evidential
from ensemw2s.core.losses.hardening import global_stats
from ensemw2s.core.losses.links import LINKS, SOFTMAX, Link
from ensemw2s.core.losses.targets import CrossEntropy, Entropy, LogConf, Product, Smoothing
from ensemw2s.core.losses.weights import Adaptive, Group, Window

__all__ = [
    "LINKS",
    "LOSSES",
    "SOFTMAX",
    "CrossEntropy",
    "GlobalStats",
    "Link",
    "LogConf",
    "WeakBatch",
    "WeakToStrongLoss",
    "global_stats",
]

LOSSES: dict[str, type[WeakToStrongLoss]] = {
    "xent": CrossEntropy,
    "product": Product,
    "logconf": LogConf,
    "entropy": Entropy,
    "smoothing": Smoothing,
    "adaptive": Adaptive,
    "window": Window,
    "group": Group,
    "evidential": Evidential,
}
