"""Ranks, wins and means over tasks: by hand, and what chance alone must not find."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ensemw2s.core.intervals import Estimate, Resamples
from ensemw2s.core.ranking import holm, mean_of_tasks, rank_intervals, wins_and_losses


def resamples(n_items, n_seeds, n=500):
    return Resamples.draw(torch.arange(n_items), n_seeds, torch.Generator().manual_seed(0), n_resamples=n)


def planted(rights, n_seeds=5, n_items=400, seed=0):
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(len(rights), n_seeds, n_items, generator=generator)
    return (drawn < torch.tensor(rights)[:, None, None]).double()


def test_holm_by_hand():
    # Sorted: .01 * 4, .02 * 3, .03 * 2, .5 * 1, each at least as large as the one before it.
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_is_never_below_the_plain_p_and_never_above_bonferroni(p_values):
    for plain, adjusted in zip(p_values, holm(p_values), strict=True):
        assert plain <= adjusted <= min(1.0, len(p_values) * plain) + 1e-12


def test_ranks_by_hand_and_equals_share_theirs():
    correct = torch.tensor([[[1.0, 0.0]], [[1.0, 1.0]], [[0.0, 1.0]]]).expand(3, 4, 2).clone()
    found = rank_intervals(correct, resamples(2, 4))
    assert [r.mean for r in found] == [2.5, 1.0, 2.5]
    assert all(r.low <= r.mean <= r.high for r in found)


def test_clear_ranks_have_narrow_ranges_and_equal_methods_wide_ones():
    clear = rank_intervals(planted([0.9, 0.7, 0.5]), resamples(400, 5))
    assert [(r.low, r.high) for r in clear] == [(1, 1), (2, 2), (3, 3)]
    even = rank_intervals(planted([0.7] * 6), resamples(400, 5))
    assert max(r.high - r.low for r in even) >= 3


def test_wins_are_found_where_planted_and_not_among_equals():
    assert wins_and_losses(planted([0.9, 0.6, 0.6]), resamples(400, 5)) == [(2, 0), (0, 1), (0, 1)]
    assert wins_and_losses(planted([0.6] * 8), resamples(400, 5)) == [(0, 0)] * 8
    assert wins_and_losses(planted([0.9, 0.1], n_seeds=1), resamples(400, 1)) == [(0, 0)] * 2  # one seed shows nothing


def test_the_mean_of_tasks_adds_errors_in_quadrature():
    found = mean_of_tasks([Estimate(0.1, 0.07, 0.13, "student-t"), Estimate(0.3, 0.26, 0.34, "student-t")])
    assert found.mean == pytest.approx(0.2)
    assert found.high - found.mean == pytest.approx(0.025)  # sqrt(.03^2 + .04^2) / 2
    alone = mean_of_tasks([Estimate(0.1, 0.0, 0.3, "student-t")])
    assert alone[:3] == pytest.approx((0.1, 0.0, 0.3))
    assert alone.method == "student-t"
