"""Losses on pairs by their published formulas, and pairs by hand."""

from functools import partial
from math import exp, log

import pytest
import torch
from pydantic import ValidationError

from ensemw2s.config import Preference, Recipe
from ensemw2s.core.preferences import PairBatch, Question, expected_loss
from ensemw2s.core.preferences.losses import Dpo, Ipo, OnlyChosen, Orpo
from ensemw2s.core.preferences.pairings import AGREED, ALIKE, SILENT, UNSURE, ByJudges, ByMajority, ByTree
from ensemw2s.core.seeds import stream
from ensemw2s.data.answers import final_answer
from ensemw2s.tables import PREFERENCE_LOSSES

C, R, C0, R0, NC, NR = -3.0, -4.5, -2.0, -5.0, 3, 5
DELTA = 0.1 * ((C - C0) - (R - R0))
ONE = PairBatch(
    *(torch.tensor([x], dtype=torch.float64) for x in (C, R)),
    torch.tensor([NC]),
    torch.tensor([NR]),
    *(torch.tensor([x], dtype=torch.float64) for x in (C0, R0, 1.0, 0.0)),
)


def logistic(x):
    return 1 / (1 + exp(-x))


def odds(x):
    return exp(x) / (1 - exp(x))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (Dpo(), -log(logistic(0.1 * ((C - C0) - (R - R0))))),
        (Dpo(beta=0.5, anchor=2.0), -log(logistic(0.5 * ((C - C0) - (R - R0)))) - 2 * C / NC),
        (Ipo(beta=0.2), ((C - C0) / NC - (R - R0) / NR - 1 / 0.4) ** 2),
        (Orpo(lam=0.3), -C / NC - 0.3 * log(logistic(log(odds(C / NC) / odds(R / NR))))),
        (OnlyChosen(), -C / NC),
    ],
)
def test_a_loss_is_its_formula(loss, expected):
    assert float(loss(ONE)) == pytest.approx(expected, rel=1e-12)


DOUBTED = ONE._replace(probability=torch.tensor([0.3]).double(), margin=torch.tensor([0.7]).double())


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (Dpo(), -0.3 * log(logistic(DELTA - 0.7)) - 0.7 * log(logistic(0.7 - DELTA))),
        (
            Dpo(anchor=2.0),
            -0.3 * log(logistic(DELTA - 0.7)) - 0.7 * log(logistic(0.7 - DELTA)) - 2 * (0.3 * C / NC + 0.7 * R / NR),
        ),
        (
            Ipo(beta=0.2),
            0.3 * ((C - C0) / NC - (R - R0) / NR - 1.2 / 0.2) ** 2
            + 0.7 * ((R - R0) / NR - (C - C0) / NC + 0.2 / 0.2) ** 2,
        ),
        (OnlyChosen(), -0.3 * C / NC - 0.7 * R / NR),
    ],
)
def test_a_doubted_pair_counts_as_itself_and_as_itself_turned_round(loss, expected):
    assert float(expected_loss(loss, DOUBTED)) == pytest.approx(expected, rel=1e-7)
    assert float(expected_loss(loss, DOUBTED.turned)) == pytest.approx(expected, rel=1e-7)
    assert torch.equal(expected_loss(loss, ONE), loss(ONE))


def test_a_margin_asks_for_longer_odds():
    odd = ONE._replace(margin=torch.tensor([0.7]).double())
    at = log(odds(C / NC) / odds(R / NR)) - 0.7
    assert float(expected_loss(Orpo(lam=0.3), odd)) == pytest.approx(-C / NC - 0.3 * log(logistic(at)), rel=1e-7)


def test_a_loss_has_a_slope_where_an_answer_is_certain():
    leaf = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    for kind in PREFERENCE_LOSSES.values():
        (slope,) = torch.autograd.grad(kind()(ONE._replace(chosen=leaf)).sum(), leaf)
        assert bool(slope.isfinite().all())


WEAK, OTHER = "Peru", "Chile"


def question(samples, weak=WEAK, *, is_certain=False, name="q", worth=None):
    final = partial(final_answer, verifier="text")
    return Question(weak, samples, final, is_certain, stream(0, "pair", name), worth or {})


@pytest.mark.parametrize(
    ("samples", "weak", "expected"),
    [
        ([WEAK] * 6 + [OTHER] * 4, WEAK, [(WEAK, OTHER, "confirmed")]),
        ([WEAK] * 5 + [OTHER] * 5, WEAK, UNSURE),
        (["peru."] * 6 + [OTHER] * 4, WEAK, [(WEAK, OTHER, "confirmed")]),  # equal for the verifier
        ([OTHER] * 8 + ["Iran"] * 2, WEAK, [(OTHER, WEAK, "overruled")]),
        ([OTHER] * 7 + ["Iran"] * 3, WEAK, UNSURE),
        ([OTHER] * 8 + [""] * 2, "", "nothing was learned that could be worse"),
        ([WEAK] * 10, WEAK, AGREED),
        ([WEAK] * 6 + [""] * 4, WEAK, AGREED),  # silence is no worse answer
        ([WEAK] * 5 + [""] * 5, WEAK, UNSURE),  # but counts
        ([""] * 10, WEAK, SILENT),
    ],
)
def test_the_majority_confirms_or_overrules_the_weak_answer(samples, weak, expected):
    found = ByMajority()(question(samples, weak))
    assert (found if isinstance(found, str) else [(p.chosen, p.rejected, p.origin) for p in found]) == expected


def test_a_persons_answer_is_never_overruled():
    samples = [OTHER] * 9 + ["Iran"]
    found = ByMajority(per_question=3)(question(samples, is_certain=True))
    assert {(p.chosen, p.rejected, p.origin) for p in found} == {(WEAK, x, "person") for x in (OTHER, "Iran")}
    assert ByTree()(question(samples, is_certain=True)) == AGREED  # no sample is right, so none is better
    (pair,) = ByTree()(question([*samples, WEAK], is_certain=True))
    assert (pair.chosen, pair.rejected) == (WEAK, OTHER)


def test_pairs_are_drawn_by_the_questions_name_and_have_a_margin():
    samples = [WEAK] * 6 + [OTHER, "Iran", "Iraq", "Italy"]
    pairing = ByMajority(per_question=2)
    first, again = (pairing(question(samples, name="a")) for _ in range(2))
    assert first == again
    assert len({p.rejected for p in first}) == 2
    assert [p.margin for p in first] == [pytest.approx(0.5)] * 2
    assert len({ByMajority()(question(samples, name=str(i)))[0].rejected for i in range(30)}) == 4


def test_a_tree_finds_where_good_and_bad_answers_part():
    right, wrong, late = "2 + 2\n4 + 1\n5", "2 + 3\n5 + 1\n6", "2 + 2\n4 + 2\n6"
    final = partial(final_answer, verifier="number")
    asked = Question("5", [right] * 3 + [wrong, late], final, False, stream(0, "pair", "q"), {})
    root, below = ByTree(gap=0.5)(asked)
    assert (root.chosen, root.rejected, root.shared, root.margin) == (right, wrong, "", pytest.approx(0.75))
    assert (below.chosen, below.rejected, below.shared) == (right, late, "2 + 2")
    assert below.margin == pytest.approx(1.0)
    assert ByTree(gap=0.8)(asked) == [below]
    assert ByTree(least=0.7)(asked) == UNSURE


def test_an_answer_that_ends_is_a_branch_and_short_answers_part_at_words():
    found = ByTree()(question(["United States"] * 7 + ["United"] + ["United Kingdom"], "United States"))
    assert [(p.chosen, p.rejected, p.shared) for p in found] == [("United States", "United", "United")]
    assert ByTree()(question([WEAK] * 10)) == AGREED
    assert ByTree()(question([""] * 10)) == SILENT


@pytest.mark.parametrize(
    ("worth", "is_certain", "expected"),
    [
        ({WEAK: 0.5, "peru.": 2.0, OTHER: 0.6, "Iran": -0.5}, False, [("peru.", "Iran", "judged")]),
        ({WEAK: -2.0, "peru.": 1.0, OTHER: 0.0, "Iran": 0.5}, False, [("peru.", OTHER, "judged")]),  # equal is no worse
        ({WEAK: 0.5, "peru.": 0.4, OTHER: 0.0, "Iran": -0.4}, False, ALIKE),
        ({WEAK: -3.0, "peru.": -3.0, OTHER: 1.0, "Iran": 2.0}, True, [(WEAK, OTHER, "person")]),
    ],
)
def test_judges_name_the_better_and_the_worse_sample(worth, is_certain, expected):
    asked = question(["", "Iran", WEAK, "peru.", OTHER, OTHER], is_certain=is_certain, worth=worth)
    found = ByJudges()(asked)
    assert (found if isinstance(found, str) else [(p.chosen, p.rejected, p.origin) for p in found]) == expected
    assert ByJudges()(question(["peru.", WEAK], worth=worth)) == AGREED
    assert ByJudges()(question(["", ""], worth=worth)) == SILENT


def test_a_second_lesson_has_a_name_and_refuses_what_is_unknown():
    plain = Recipe(labels="hard", then=Preference())
    assert plain.name == "xent-hard-then[majority,dpo]"
    other = Preference(pairs="tree", pairs_options={"gap": 0.6}, loss="ipo", options={"beta": 0.2}, epochs=3)
    assert (
        Recipe(labels="hard", with_easy=True, then=other).name
        == "xent-hard-then[tree,gap=0.6,ipo,beta=0.2,epochs=3]+easy"
    )
    denoised = Preference(pairs="judged", denoise="judges", margin_scale=0.5)
    assert denoised.name == "then[judged,dpo,denoise=judges,margin_scale=0.5]"
    assert (denoised.reads_judges, Preference(pairs="tree").reads_judges) == (True, False)
    assert set(denoised.model_dump()) - set(Preference().model_dump()) == {"denoise", "margin_scale"}
    for bad, words in (
        ({"loss": "ppo"}, "loss: there is no 'ppo'; choose one of dpo, ipo, orpo, sft"),
        ({"pairs": "random"}, "pairs: there is no 'random'; choose one of majority, tree, judged"),
        ({"options": {"beta": 0}}, "dpo: beta is 0.0; give a number above 0"),
        ({"options": {"lam": 1}}, "options: dpo has no 'lam'; it has beta, anchor"),
        ({"pairs_options": {"least": 2}}, "majority: least is 2.0; give a share above 0, at most 1"),
        ({"loss": "sft", "options": {"beta": 1}}, "options: sft has no 'beta'; it has none"),
        ({"pairs": "judged", "pairs_options": {"gap": 0}}, "judged: gap is 0.0; give a number above 0"),
        ({"margin_scale": 2}, r"margin_scale \(2\) has no part without denoise: judges"),
    ):
        with pytest.raises(ValidationError, match=words):
            Preference(**bad)
