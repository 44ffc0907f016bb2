"""Two ways of doing one thing, interleaved in one process, compared by the median of their ratios."""

import statistics
import time
from collections.abc import Callable

import torch


def seconds(work: Callable[[], object]) -> float:
    """Wall clock of one call."""
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def ratio(slow: Callable[[], object], fast: Callable[[], object], *, repeats: int = 5) -> tuple[float, list[float]]:
    """Median and all values of time(slow) / time(fast), after one warm-up of each; the order alternates."""
    slow(), fast()
    found = []
    for i in range(repeats):
        if i % 2:
            b, a = seconds(fast), seconds(slow)
        else:
            a, b = seconds(slow), seconds(fast)
        found.append(a / b)
    return statistics.median(found), found


def steady(work: Callable[[], object]) -> float:
    """The ratio of one thing to itself. Ends the benchmark where the machine is too busy for any other to mean much."""
    found, values = ratio(work, work)
    if not 0.9 <= found <= 1.1:
        raise SystemExit(f"one version against itself: {found:.2f} ({shown(values)}); too noisy to report anything")
    return found


def shown(values: list[float]) -> str:
    return ", ".join(f"{v:.2f}" for v in values)
