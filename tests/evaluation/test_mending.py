"""Mended and broken labels, by hand and with a planted student."""

from dataclasses import replace

import pytest
import torch

from ensemw2s.evaluation.scored import Learned, Restarted, ScoredCondition, ScoredSeed
from ensemw2s.evaluation.sections.mending import mending_figures, restart_figures
from ensemw2s.results.conditions import student
from evaluation.test_table import scored_seed

BOOSTED = student("boosting", "r")


def seed(number: int, rows: torch.Tensor, label_is_right: torch.Tensor, student_is_right: torch.Tensor) -> ScoredSeed:
    made = scored_seed(number)
    old = next(iter(made.conditions.values()))
    one = ScoredCondition(old.parts, old.cost, learned=Learned(label_is_right, student_is_right))
    return ScoredSeed(number, rows, rows, {BOOSTED: one}, [], None, made.signals, None, None, {})


def test_shares_are_of_the_wrong_and_of_the_right_labels():
    yes, no = True, False
    labels = torch.tensor([yes, yes, yes, no, no, yes])
    says = torch.tensor([yes, yes, no, yes, no, yes])
    [found] = mending_figures([seed(0, torch.arange(6), labels, says)], [BOOSTED])
    assert found.row == BOOSTED.key
    assert found.labels_right.mean == pytest.approx(4 / 6)
    assert found.mended is not None
    assert found.broken is not None
    assert found.mended.mean == pytest.approx(1 / 2)
    assert found.broken.mean == pytest.approx(1 / 4)
    assert (found.net.mean, found.n_wrong) == (0.0, 2.0)
    assert found.net.method == "items only"


def test_a_copy_mends_and_breaks_nothing_and_a_student_of_its_own_mind_does_so_by_its_accuracy():
    g, n = torch.Generator().manual_seed(0), 4000
    seeds = []
    for number in range(3):
        rows = torch.randperm(6000, generator=g)[:n]
        labels, own = torch.rand(n, generator=g) < 0.6, torch.rand(n, generator=g) < 0.8
        seeds.append(seed(number, rows, labels, own))
    [found] = mending_figures(seeds, [BOOSTED])
    assert found.mended is not None
    assert found.broken is not None
    assert found.mended.mean == pytest.approx(0.8, abs=0.02)
    assert found.broken.mean == pytest.approx(0.2, abs=0.02)
    for interval, truth in ((found.mended, 0.8), (found.broken, 0.2), (found.net, 0.2)):
        assert interval.low < truth < interval.high
        assert interval.high - interval.low < 0.1
    copies = [seed(s, torch.arange(10), torch.arange(10) < 7, torch.arange(10) < 7) for s in range(2)]
    [copy] = mending_figures(copies, [BOOSTED])
    assert copy.mended is not None
    assert copy.broken is not None
    assert (copy.mended.mean, copy.broken.mean, copy.net.mean, copy.net.high) == (0.0, 0.0, 0.0, 0.0)


def test_without_wrong_labels_nothing_can_be_mended():
    right = torch.ones(6, dtype=torch.bool)
    [found] = mending_figures([seed(0, torch.arange(6), right, right)], [BOOSTED])
    assert found.mended is None
    assert found.broken is not None
    assert found.broken.mean == 0.0


def test_there_is_nothing_where_nobody_knows_the_truth():
    made = scored_seed(0)
    assert mending_figures([made], list(made.conditions)) == ()


def test_samples_that_went_on_from_an_answer_mend_and_break_it_by_their_shares():
    rows, own = torch.arange(4), torch.tensor([True, True, False, False])
    made = [
        replace(seed(number, rows, own, own), restarts={BOOSTED: Restarted(own, share)})
        for number, share in enumerate((torch.tensor([1.0, 0.5, 0.25, 0.0]), torch.tensor([1.0, 1.0, 0.75, 0.0])))
    ]
    [found] = restart_figures(made)
    assert found.mended is not None
    assert found.broken is not None
    assert (found.row, found.labels_right.mean, found.n_wrong) == (BOOSTED.key, 0.5, 2.0)
    assert (found.mended.mean, found.broken.mean) == pytest.approx((0.25, 0.125))
    assert found.net.mean == pytest.approx((0.25 - 0.125) / 2)
    assert restart_figures([seed(0, rows, own, own)]) == ()
