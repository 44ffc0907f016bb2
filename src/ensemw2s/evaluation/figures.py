"""Estimates as records of figures."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ensemw2s.core import intervals, metrics
from ensemw2s.results import Figure, Interval


def figure(per_seed: Sequence[float], name: str) -> Figure:
    """A metric, by its name in `metrics.RANGES`, whose interval is over the seeds alone."""
    estimate = intervals.seed_interval(torch.tensor(per_seed, dtype=torch.float64))
    return Figure(per_seed=tuple(per_seed), interval=interval_of(estimate, metrics.RANGES[name]))


def share_of(right: Float[Tensor, "seeds items"], resamples: intervals.Resamples) -> Interval:
    """The share of right answers, with an interval over items crossed with seeds."""
    return interval_of(intervals.mean_interval(right, resamples), intervals.SHARE)


def share_of_items(right: Float[Tensor, "seeds items"], resamples: intervals.Resamples) -> Interval:
    """The same share, with an interval over the items alone."""
    return interval_of(intervals.item_interval(right, resamples), intervals.SHARE)


def difference_of(difference: Float[Tensor, "seeds items"], resamples: intervals.Resamples) -> Interval:
    """The mean of per-item differences of right answers, with an interval over items crossed with seeds."""
    return interval_of(intervals.mean_interval(difference, resamples), intervals.DIFFERENCE)


def interval_of(estimate: intervals.Estimate, limits: intervals.Range | None = None) -> Interval:
    """An estimate as a record, cut to the range of what it estimates where that has one."""
    if limits is not None:
        estimate = intervals.within(estimate, limits)
    return Interval(mean=estimate.mean, low=estimate.low, high=estimate.high, method=estimate.method)
