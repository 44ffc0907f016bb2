"""95% intervals over seeds and items.

All seeds share the test items, so items are crossed with seeds, not nested in them: a resample draws seeds and
groups of items independently, and pairs stay together. Few seeds make a percentile bootstrap too narrow, so below
10 seeds the wider of it and the Student-t interval over the seeds' means is used.
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from scipy import stats
from torch import Generator, Tensor

from ensemw2s.core.arrays import accepts_arrays

ENOUGH_SEEDS = 10
LEVEL = 0.95
Range = tuple[float, float]
"""Smallest and largest value that a figure can have."""
SHARE: Range = (0.0, 1.0)
DIFFERENCE: Range = (-1.0, 1.0)
"""Range of a difference of two shares."""


class Estimate(NamedTuple):
    """A mean, its 95% interval and how the interval was made."""

    mean: float
    low: float
    high: float
    method: str


@dataclass(frozen=True)
class Resamples:
    """Bootstrap draws shared by all figures of one test set, so that their differences are paired.

    Memory: 8 KB per group at 2,000 resamples.
    """

    group_of: Int[Tensor, " items"]
    group_counts: Float[Tensor, "resamples groups"]
    """How often each group was drawn."""
    seed_counts: Float[Tensor, "resamples seeds"]

    @classmethod
    @accepts_arrays
    def draw(
        cls, groups: Int[Tensor, " items"], n_seeds: int, generator: Generator, *, n_resamples: int = 2000
    ) -> "Resamples":
        """Draw seeds and groups; items of one group (one question, one city) are drawn together."""
        distinct, group_of = groups.unique(return_inverse=True)
        group_counts = _counts(n_resamples, len(distinct), generator)
        return cls(group_of, group_counts, _counts(n_resamples, n_seeds, generator))

    @accepts_arrays
    def means(self, values: Float[Tensor, "seeds items"]) -> Float[Tensor, " resamples"]:
        """Mean of the values in each resample; a drawn group contributes all its items."""
        n_seeds, n_groups = len(values), self.group_counts.shape[1]
        sums = torch.zeros(n_seeds, n_groups, dtype=torch.float64).index_add_(1, self.group_of, values.double())
        sizes = torch.bincount(self.group_of, minlength=n_groups).double()
        both = torch.cat([sums, sizes[None]]).float()
        drawn = self.group_counts @ both.T  # [resamples, seeds + 1]
        return ((drawn[:, :-1] * self.seed_counts).sum(1) / (n_seeds * drawn[:, -1])).double()


@accepts_arrays
def mean_interval(values: Float[Tensor, "seeds items"], resamples: Resamples) -> Estimate:
    """Mean of per-item values (correctness, or paired differences of it) with its interval."""
    mean = float(values.double().mean())
    low, high = percentiles(resamples.means(values))
    n_seeds = len(values)
    if n_seeds == 1:
        return Estimate(mean, low, high, "items only")
    if n_seeds < ENOUGH_SEEDS:
        t = seed_interval(values.double().mean(1))
        if t.high - t.low > high - low:
            return t
    return Estimate(mean, low, high, "crossed bootstrap")


@accepts_arrays
def ratio_interval(
    values: Float[Tensor, "seeds items"], counts: Float[Tensor, "seeds items"], resamples: Resamples
) -> Estimate | None:
    """Sum of the values over sum of the counts, each over all seeds and items, with the interval of that ratio.

    For shares among items that differ by seed, such as those that a seed has, or whose label is wrong there. None
    where there is nothing to count.
    """
    total = float(counts.double().sum())
    if total == 0.0:
        return None
    mean, ratios = float(values.double().sum()) / total, resamples.means(values) / resamples.means(counts)
    low, high = percentiles(ratios[~ratios.isnan()])  # a resample may have nothing to count
    of_seed = values.double().sum(1) / counts.double().sum(1)
    of_seed = of_seed[~of_seed.isnan()]
    if len(values) == 1:
        return Estimate(mean, low, high, "items only")
    if 1 < len(of_seed) < ENOUGH_SEEDS:
        t = seed_interval(of_seed)
        if t.high - t.low > high - low:
            half = (t.high - t.low) / 2
            return Estimate(mean, mean - half, mean + half, t.method)
    return Estimate(mean, low, high, "crossed bootstrap")


@accepts_arrays
def item_interval(values: Float[Tensor, "seeds items"], resamples: Resamples) -> Estimate:
    """The same mean with an interval over the items alone: what another test of this size would change."""
    fixed = replace(resamples, seed_counts=torch.ones_like(resamples.seed_counts))
    return Estimate(float(values.double().mean()), *percentiles(fixed.means(values)), "items only")


@accepts_arrays
def seed_interval(per_seed: Float[Tensor, " seeds"]) -> Estimate:
    """Student-t interval over seeds alone, for figures that are not means over shared items; 0 wide for one seed."""
    mean = float(per_seed.double().mean())
    n = len(per_seed)
    if n == 1:
        return Estimate(mean, mean, mean, "one seed")
    half = float(stats.t.ppf(0.5 + LEVEL / 2, n - 1)) * float(per_seed.double().std()) / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half, "student-t")


def wilson(n_right: float | int, n: float | int) -> Estimate:
    """A share of n independent trials with Wilson's interval, which stays within 0 and 1."""
    share, z2 = n_right / n, float(stats.norm.ppf(0.5 + LEVEL / 2)) ** 2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return Estimate(share, max(middle - half, 0.0), min(middle + half, 1.0), "wilson")


def within(estimate: Estimate, limits: Range) -> Estimate:
    """Clip an interval to the range of its figure; with few seeds Student-t can exceed it."""
    low, high = limits
    return estimate._replace(low=min(max(estimate.low, low), high), high=max(min(estimate.high, high), low))


@accepts_arrays
def paired_p_value(difference: Float[Tensor, "seeds items"], resamples: Resamples) -> float | None:
    """Two-sided p of "the mean paired difference is 0", by the same resampling as the interval.

    The bootstrap distribution, shifted to mean 0, is compared with the observed mean. Below 10 seeds the larger of that
    p and that of the paired t-test over seeds is returned. None for one seed, which has no variation over seeds.
    """
    n_seeds = len(difference)
    if n_seeds == 1:
        return None
    observed = float(difference.double().mean())
    means = resamples.means(difference) - observed
    p = (1 + int((means.abs() >= abs(observed) - 1e-9).sum())) / (1 + len(means))
    if n_seeds < ENOUGH_SEEDS:
        per_seed = difference.double().mean(1)
        spread = float(per_seed.std())
        if spread > 0.0:
            t = observed / (spread / math.sqrt(n_seeds))
            p = max(p, 2.0 * float(stats.t.sf(abs(t), n_seeds - 1)))
    return min(p, 1.0)


@accepts_arrays
def pgr(
    student: Float[Tensor, "seeds items"],
    weak: Float[Tensor, "seeds items"],
    ceiling: Float[Tensor, "seeds items"],
    resamples: Resamples,
) -> tuple[Estimate | None, str]:
    """Performance gap recovered, (student - weak) / (ceiling - weak) (Burns et al., 2312.09390); never clipped.

    Returns:
        The estimate, or None with the reason: where the interval of the gap does not lie above 0, the ratio is noise.
    """
    gap = mean_interval(ceiling - weak, resamples)
    if gap.low <= 0.0:
        return None, _no_clear(gap)
    ratios = resamples.means(student - weak) / resamples.means(ceiling - weak)
    low, high = percentiles(ratios[~ratios.isnan()])  # a resample without gap or gain says nothing of their ratio
    if not (math.isfinite(low) and math.isfinite(high)):
        return None, _no_clear(gap)
    value = float((student - weak).double().mean()) / gap.mean
    return Estimate(value, low, high, "crossed bootstrap"), ""


def _no_clear(gap: "Estimate") -> str:
    return (
        f"the gap between the ceiling and the weak model is {100 * gap.mean:.1f} points "
        f"[{100 * gap.low:.1f}, {100 * gap.high:.1f}], not clearly above 0"
    )


def _counts(n_resamples: int, n: int, generator: Generator) -> Float[Tensor, "resamples n"]:
    """How often each of n things is drawn in n draws with replacement."""
    drawn = torch.randint(n, (n_resamples, n), generator=generator)
    return torch.zeros(n_resamples, n).scatter_add_(1, drawn, torch.ones(n_resamples, n))


def percentiles(samples: Float[Tensor, " resamples"]) -> tuple[float, float]:
    tail = (1.0 - LEVEL) / 2
    low, high = torch.quantile(samples, torch.tensor([tail, 1.0 - tail], dtype=samples.dtype)).tolist()
    return low, high
