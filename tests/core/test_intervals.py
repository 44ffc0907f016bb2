import math

import pytest
import torch

from ensemw2s.core.intervals import (
    DIFFERENCE,
    SHARE,
    Resamples,
    item_interval,
    mean_interval,
    paired_p_value,
    pgr,
    ratio_interval,
    seed_interval,
    within,
)
from ensemw2s.evaluation.figures import figure


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def resamples(n_items: int, n_seeds: int, *, seed: int = 0, n: int = 400) -> Resamples:
    return Resamples.draw(torch.arange(n_items), n_seeds, generator(seed), n_resamples=n)


def simulated(n_seeds: int, n_items: int, seed: int) -> torch.Tensor:
    """Correctness with an effect of the seed, of the item, and noise; the expected mean is 1/2."""
    g = generator(seed)
    seeds = 0.15 * torch.randn(n_seeds, 1, generator=g)
    items = torch.randn(1, n_items, generator=g)
    return (seeds + items + torch.randn(n_seeds, n_items, generator=g) > 0).double()


def test_the_crossed_interval_covers_where_items_alone_do_not():
    n_sims, crossed, items_only = 300, 0, 0
    for s in range(n_sims):
        values = simulated(5, 400, s)
        found = mean_interval(values, resamples(400, 5, seed=10_000 + s, n=300))
        crossed += found.low <= 0.5 <= found.high
        # What a script does that pools seeds and items into one list.
        pooled = values.flatten()
        half = 1.96 * float(pooled.std()) / len(pooled) ** 0.5
        items_only += abs(float(pooled.mean()) - 0.5) <= half
    assert crossed / n_sims >= 0.9
    assert items_only / n_sims < 0.8


def test_the_paired_test_rejects_a_true_null_about_as_often_as_it_says():
    rejected = 0
    for s in range(300):
        difference = simulated(5, 200, s) - simulated(5, 200, 5000 + s)
        p = paired_p_value(difference, resamples(200, 5, seed=s, n=300))
        assert p is not None
        assert 0.0 < p <= 1.0
        rejected += p < 0.05
    assert rejected / 300 <= 0.08


def test_student_t_is_taken_below_ten_seeds_where_it_is_wider():
    values = torch.zeros(3, 50)
    values[1] += 1.0  # all variation lies between seeds
    found = mean_interval(values, resamples(50, 3))
    assert found.method == "student-t"
    assert (found.low, found.high) == pytest.approx(seed_interval(values.mean(1))[1:3])
    many = values.repeat(4, 1)
    assert mean_interval(many, resamples(50, 12)).method == "crossed bootstrap"


def test_one_seed_says_nothing_about_seeds():
    values = simulated(1, 100, 0)
    assert mean_interval(values, resamples(100, 1)).method == "items only"
    assert paired_p_value(values - 0.5, resamples(100, 1)) is None
    assert seed_interval(torch.tensor([0.7])) == (
        pytest.approx(0.7),
        pytest.approx(0.7),
        pytest.approx(0.7),
        "one seed",
    )


def test_an_interval_over_items_holds_the_seeds_as_they_are():
    drawn = resamples(400, 5, n=2000)
    values = simulated(5, 400, 1)
    found = item_interval(values, drawn)
    half = 1.96 * float(values.mean(0).std()) / 400**0.5
    assert (found.mean, found.method) == (pytest.approx(float(values.mean())), "items only")
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)
    apart = values + torch.arange(5).double()[:, None]  # seeds further apart change nothing
    moved = item_interval(apart, drawn)
    assert moved.high - moved.low == pytest.approx(found.high - found.low)
    one = values[:1]
    assert item_interval(one, resamples(400, 1)) == mean_interval(one, resamples(400, 1))


def test_items_of_one_group_are_drawn_together():
    values = simulated(4, 100, 3)
    once = mean_interval(values, Resamples.draw(torch.arange(100), 4, generator(1)))
    groups = torch.arange(100).repeat(2)
    twice = mean_interval(values.repeat(1, 2), Resamples.draw(groups, 4, generator(1)))
    assert twice[:3] == pytest.approx(once[:3], abs=1e-6)


def test_the_p_value_agrees_with_the_interval():
    clear = simulated(6, 200, 1) * 0 + torch.randn(6, 200, generator=generator(2)) * 0.1 + 0.5
    drawn = resamples(200, 6)
    assert mean_interval(clear, drawn).low > 0
    assert paired_p_value(clear, drawn) < 0.05
    none = torch.randn(6, 200, generator=generator(4))
    found = mean_interval(none, drawn)
    assert found.low < 0 < found.high
    assert paired_p_value(none, drawn) > 0.05


def flat(value: float) -> torch.Tensor:
    """Correctness of that mean, with a little spread over items and seeds."""
    return value + 0.01 * torch.randn(10, 100, generator=generator(7))


def test_pgr_is_undefined_with_its_reason_where_the_gap_is_not_clear():
    wide = torch.randn(10, 100, generator=generator(5))
    value, reason = pgr(flat(0.6), flat(0.5), flat(0.5) + wide, resamples(100, 10))
    assert value is None
    assert "not clearly above 0" in reason


def test_pgr_is_finite_or_undefined_where_some_resamples_have_no_gap():
    """Four items of forty make the whole gap, so that a resample in seventy has none of them, and no gain either."""
    weak, ceiling, student = (torch.zeros(3, 40) for _ in range(3))
    ceiling[:, :4] = 1.0
    student[:, :2] = 1.0
    drawn = resamples(40, 3)
    gaps = drawn.means(ceiling - weak)
    assert bool((gaps == 0).any()), "or nothing of this is tested"
    value, reason = pgr(student, weak, ceiling, drawn)
    assert reason or (math.isfinite(value.low) and math.isfinite(value.high))


@pytest.mark.parametrize(("student", "expected"), [(0.6, 0.5), (0.8, 1.5), (0.4, -0.5)])
def test_pgr_is_never_clipped(student, expected):
    value, reason = pgr(flat(student), flat(0.5), flat(0.7), resamples(100, 10))
    assert reason == ""
    assert value.mean == pytest.approx(expected, abs=0.02)
    assert value.low < value.mean < value.high


@pytest.mark.parametrize(
    ("per_seed", "limits", "expected"),
    [
        ([1.0, 0.9, 0.95], SHARE, (0.8258, 1.0)),
        ([0.0, 0.1, 0.02], SHARE, (0.0, 0.1715)),
        ([0.9, 1.0, 0.5], DIFFERENCE, (0.1427, 1.0)),
        ([-0.9, -1.0, -0.5], DIFFERENCE, (-1.0, -0.1427)),
        ([1.0, 1.0, 1.0], SHARE, (1.0, 1.0)),
    ],
)
def test_an_interval_stays_within_what_its_figure_can_be(per_seed, limits, expected):
    estimate = seed_interval(torch.tensor(per_seed, dtype=torch.float64))
    found = within(estimate, limits)
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-3)
    assert found.mean == estimate.mean


@pytest.mark.parametrize(("name", "limit"), [("balanced_accuracy", 1.0), ("auroc", 1.0), ("ece", 1.0), ("brier", 2.0)])
def test_figures_over_seeds_stay_within_their_range(name, limit):
    high, low = figure([limit, 0.9 * limit, limit], name), figure([0.0, 0.1, 0.0], name)
    assert (high.interval.high, low.interval.low) == (limit, 0.0)
    assert figure([0.0, 0.1, 0.0], "log_loss").interval.low == 0.0


def test_a_ratio_counts_only_what_is_there():
    values, counts = torch.tensor([[1.0, 0.0, 1.0, 0.0]]), torch.tensor([[1.0, 1.0, 1.0, 0.0]])
    found = ratio_interval(values, counts, resamples(4, 1))
    assert found is not None
    assert found.mean == pytest.approx(2 / 3)
    assert (found.low, found.high) == pytest.approx((0.0, 1.0))
    assert ratio_interval(values, torch.zeros(1, 4), resamples(4, 1)) is None


def test_a_ratio_of_everything_is_the_mean():
    values = simulated(12, 50, 0)
    drawn = resamples(50, 12)
    found = ratio_interval(values, torch.ones_like(values), drawn)
    assert found is not None
    assert found[:3] == pytest.approx(mean_interval(values, drawn)[:3])


def test_the_interval_of_a_ratio_covers_the_share_of_a_part_that_differs_by_seed():
    covered = 0
    for s in range(200):
        has = torch.rand(5, 200, generator=generator(9000 + s)) < 0.4
        found = ratio_interval(simulated(5, 200, s) * has, has.double(), resamples(200, 5, seed=s, n=300))
        assert found is not None
        covered += found.low <= 0.5 <= found.high
    assert covered / 200 >= 0.9
