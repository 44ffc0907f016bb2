"""Best of n and the label model by judges, against what is known of them."""

import pytest
import torch
from torch import Generator

from ensemw2s.core import best_of
from ensemw2s.core.labels import Votes
from ensemw2s.core.labels.judged import Judged, standardised
from ensemw2s.errors import ConfigError
from ensemw2s.tables import LABEL_MODELS
from tiny_run import READ_JUDGES

NONE = -torch.inf


def votes(scores, soft=None):
    _, items, classes = scores.shape
    soft = torch.full((items, classes), 1.0 / classes) if soft is None else soft
    return Votes(torch.rand(2, items, classes), torch.ones(2), soft, judged=lambda: scores)


def test_a_perfect_judge_finds_what_is_right_and_a_random_one_nothing():
    p, generator = 0.3, Generator().manual_seed(0)
    right = torch.rand(20_000, 8, generator=generator) < p
    random = torch.rand(20_000, 8, generator=generator)
    for n in best_of.sizes(8):
        for worth, wanted in ((right.double(), 1 - (1 - p) ** n), (random, p)):
            found = right.gather(1, best_of.best(worth, n)[:, None]).double().mean()
            assert float(found) == pytest.approx(wanted, abs=4 * (0.25 / 20_000) ** 0.5)
    assert [best_of.sizes(n) for n in (1, 2, 8, 10)] == [[1], [1, 2], [1, 2, 4, 8], [1, 2, 4, 8, 10]]


def test_the_commonest_answer_wins_then_the_likelier_and_silence_never():
    answer = torch.tensor([[0, 1, 1, 0], [-1, -1, -1, 2], [-1, -1, -1, -1]])
    probability = torch.tensor([[0.1, 0.3, 0.3, 0.2], [0.9, 0.9, 0.9, 0.1], [0.5, 0.5, 0.5, 0.5]])
    assert best_of.commonest(answer, probability, 4).tolist() == [1, 3, 0]
    assert best_of.commonest(answer, probability, 1).tolist() == [0, 0, 0]
    assert best_of.best(torch.tensor([[NONE, 2.0, 3.0]]), 2).tolist() == [1]


def test_judges_are_centred_in_their_question_and_have_one_spread():
    scores = torch.tensor([[[1.0, 3.0, NONE], [100.0, 101.0, 102.0]], [[10.0, 30.0, NONE], [0.0, 10.0, 20.0]]])
    z = standardised(scores)
    assert torch.allclose(z[0, 0, :2] * z[1, 1, 1:].sum(), z[1, 0, :2] * z[1, 1, 1:].sum() * z[0, 0, 0] / z[1, 0, 0])
    known = z[:, scores[0].isfinite()]
    assert torch.allclose(known.square().mean(1), torch.ones(2, dtype=torch.float64))
    assert torch.allclose(z.sum(-1), torch.zeros(2, 2, dtype=torch.float64), atol=1e-12)


def test_labels_are_the_softmax_of_the_judges_mean_less_their_doubt():
    scores = torch.randn(3, 4, 2, generator=Generator().manual_seed(1))
    z = standardised(scores)
    wanted = ((z.mean(0) - 0.5 * z.std(0, correction=0)) / 2.0).softmax(-1)
    labelled = Judged(pessimism=0.5, tau=2.0)(votes(scores), lambda labels: labels.soft)
    assert torch.allclose(labelled.soft, wanted.float())
    assert bool(labelled.keep.all())
    # Two judges who disagree on the second answer alone: who doubts takes the first.
    apart = torch.tensor([[[1.0, 4.0, -5.0], [10.0, -10.0, 0.0]], [[1.0, -1.5, 0.5], [10.0, -10.0, 0.0]]])
    assert [int(Judged(p).worth(apart)[0].argmax()) for p in (0.0, 1.0)] == [1, 0]


def test_what_nobody_judges_keeps_the_vote_and_no_column_without_an_answer_wins():
    scores = torch.tensor([[[NONE, NONE], [NONE, 0.0]]])
    soft = torch.tensor([[0.8, 0.2], [0.9, 0.1]])
    labelled = Judged()(votes(scores, soft), lambda labels: labels.soft)
    assert torch.allclose(labelled.soft, torch.tensor([[0.8, 0.2], [0.0, 1.0]]))


def test_judged_without_judges_names_the_setting():
    nobody = votes(torch.zeros(1, 1, 2))._replace(judged=None)
    with pytest.raises(ConfigError, match=r"set judges\.kind to trained, principles or likelihood"):
        Judged()(nobody, lambda labels: labels.soft)
    with pytest.raises(ValueError, match="a tau above 0"):
        Judged(tau=0.0)


def test_nothing_else_of_the_table_reads_judges():
    assert {name for name, kind in LABEL_MODELS.items() if getattr(kind, "reads_judges", False)} == READ_JUDGES
