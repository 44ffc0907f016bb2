"""Many methods on the same items and seeds: ranks with intervals, and who beats whom."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from ensemw2s.core.intervals import Estimate, Resamples, paired_p_value, percentiles


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values that hold the chance of any false finding among them (Holm 1979): the k-th smallest of m times
    m - k + 1, never below a smaller one's, at most 1."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for k, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - k) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def rank_intervals(correct: Float[Tensor, "methods seeds items"], resamples: Resamples) -> list[Estimate]:
    """Each method's rank by its mean, 1 is best and equals share their mean rank, with the 95% range of its rank when
    seeds and groups of items are resampled together for all methods."""
    drawn = torch.stack([resamples.means(values) for values in correct])
    ranks = _ranks(drawn)
    observed = _ranks(correct.double().mean((1, 2))[:, None])[:, 0].tolist()
    spans = [percentiles(row) for row in ranks]
    # A rank's resampled range can miss the observed one where many methods are nearly equal.
    return [
        Estimate(rank, min(low, rank), max(high, rank), "crossed bootstrap")
        for rank, (low, high) in zip(observed, spans, strict=True)
    ]


def wins_and_losses(
    correct: Float[Tensor, "methods seeds items"], resamples: Resamples, *, level: float = 0.05
) -> list[tuple[int, int]]:
    """How many other methods each beats, and how many beat it, in the paired test of `intervals.paired_p_value`.

    Of all findings among the pairs at most `level` are expected to be false (Benjamini and Hochberg 1995): pairs are
    hundreds, and a correction against even one false finding would ask for smaller p-values than resampling can give.
    With one seed nobody beats anybody.
    """
    n = len(correct)
    pairs = [(a, b) for a in range(n) for b in range(a + 1, n)]
    found = [paired_p_value(correct[a] - correct[b], resamples) for a, b in pairs]
    counts = [[0, 0] for _ in range(n)]
    known = [1.0 if p is None else p for p in found]
    adjusted = stats.false_discovery_control(known, method="bh").tolist() if known else []
    for (a, b), p in zip(pairs, adjusted, strict=True):
        if p < level:
            better, worse = (a, b) if float((correct[a] - correct[b]).mean()) > 0 else (b, a)
            counts[better][0] += 1
            counts[worse][1] += 1
    return [(won, lost) for won, lost in counts]


def mean_of_tasks(estimates: Sequence[Estimate]) -> Estimate:
    """The mean over tasks, each counted alike: the tasks are these and no sample of others, and their errors are
    independent, so the distances to the limits add up in quadrature."""
    n = len(estimates)
    mean = sum(e.mean for e in estimates) / n
    below = math.sqrt(sum((e.mean - e.low) ** 2 for e in estimates)) / n
    above = math.sqrt(sum((e.high - e.mean) ** 2 for e in estimates)) / n
    return Estimate(mean, mean - below, mean + above, estimates[0].method if n == 1 else f"{n} tasks in quadrature")


def _ranks(means: Float[Tensor, "methods draws"]) -> Float[Tensor, "methods draws"]:
    better = (means[None] > means[:, None] + 1e-12).double().sum(1)
    equal = ((means[None] - means[:, None]).abs() <= 1e-12).double().sum(1)
    return better + (equal + 1.0) / 2.0
