"""Many methods on the same items and seeds: ranks with intervals, and which method beats which."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from ensemw2s.core.intervals import Estimate, Resamples, paired_p_value, percentiles


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, which bound the probability of any false finding (Holm 1979).

    The k-th smallest of m is multiplied by m - k + 1; it is at least the adjusted value before it and at most 1.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for k, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - k) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def rank_intervals(correct: Float[Tensor, "methods seeds items"], resamples: Resamples) -> list[Estimate]:
    """Rank of each method by its mean, with a 95% interval.

    Rank 1 is best and ties share their mean rank. The interval is the range of the rank when seeds and groups of items
    are resampled together for all methods.
    """
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
    """How many other methods each method beats, and how many beat it, by the test of `intervals.paired_p_value`.

    Among all pairs at most a share `level` of the findings is expected to be false (Benjamini and Hochberg 1995). With
    hundreds of pairs, a bound on even one false finding would need smaller p-values than resampling can give. With one
    seed no method beats another.
    """
    n = len(correct)
    pairs = [(a, b) for a in range(n) for b in range(a + 1, n)]
    p_values = [paired_p_value(correct[a] - correct[b], resamples) for a, b in pairs]
    counts = [[0, 0] for _ in range(n)]
    known = [1.0 if p is None else p for p in p_values]
    adjusted = stats.false_discovery_control(known, method="bh").tolist() if known else []
    for (a, b), p in zip(pairs, adjusted, strict=True):
        if p < level:
            better, worse = (a, b) if float((correct[a] - correct[b]).mean()) > 0 else (b, a)
            counts[better][0] += 1
            counts[worse][1] += 1
    return [(won, lost) for won, lost in counts]


def mean_of_tasks(estimates: Sequence[Estimate]) -> Estimate:
    """Mean over tasks with equal weight.

    The tasks are taken as fixed and their errors as independent, so half-widths add up in quadrature.
    """
    n = len(estimates)
    mean = sum(e.mean for e in estimates) / n
    below = math.sqrt(sum((e.mean - e.low) ** 2 for e in estimates)) / n
    above = math.sqrt(sum((e.high - e.mean) ** 2 for e in estimates)) / n
    return Estimate(mean, mean - below, mean + above, estimates[0].method if n == 1 else f"{n} tasks in quadrature")


def _ranks(means: Float[Tensor, "methods draws"]) -> Float[Tensor, "methods draws"]:
    better = (means[None] > means[:, None] + 1e-12).double().sum(1)
    equal = ((means[None] - means[:, None]).abs() <= 1e-12).double().sum(1)
    return better + (equal + 1.0) / 2.0
