"""Losses on pairs by their published formulas, and pairs by hand."""

from functools import partial
from math import exp, log

import pytest
import torch
from pydantic import ValidationError

from ensemw2s.config import Preference, Recipe
from ensemw2s.core.preferences import PairBatch, Question
from ensemw2s.core.preferences.losses import Dpo, Ipo, OnlyChosen, Orpo
from ensemw2s.core.preferences.pairings import AGREED, SILENT, UNSURE, ByMajority, ByTree
from ensemw2s.core.seeds import stream
from ensemw2s.data.answers import final_answer
from ensemw2s.tables import PREFERENCE_LOSSES

C, R, C0, R0, NC, NR = -3.0, -4.5, -2.0, -5.0, 3, 5
ONE = PairBatch(
    *(torch.tensor([x], dtype=torch.float64) for x in (C, R)),
    torch.tensor([NC]),
    torch.tensor([NR]),
    *(torch.tensor([x], dtype=torch.float64) for x in (C0, R0)),
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


def test_a_loss_has_a_slope_where_an_answer_is_certain():
    leaf = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    for kind in PREFERENCE_LOSSES.values():
        (slope,) = torch.autograd.grad(kind()(ONE._replace(chosen=leaf)).sum(), leaf)
        assert bool(slope.isfinite().all())


WEAK, OTHER = "Peru", "Chile"


def question(samples, weak=WEAK, *, is_certain=False, name="q"):
    final = partial(final_answer, verifier="text")
    return Question(weak, samples, final, is_certain, stream(0, "pair", name))


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
    asked = Question("5", [right] * 3 + [wrong, late], final, False, stream(0, "pair", "q"))
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


def test_a_second_lesson_has_a_name_and_refuses_what_is_unknown():
    plain = Recipe(labels="hard", then=Preference())
    assert plain.name == "xent-hard-then[majority,dpo]"
    other = Preference(pairs="tree", pairs_options={"gap": 0.6}, loss="ipo", options={"beta": 0.2}, epochs=3)
    assert (
        Recipe(labels="hard", with_easy=True, then=other).name
        == "xent-hard-then[tree,gap=0.6,ipo,beta=0.2,epochs=3]+easy"
    )
    for bad, words in (
        ({"loss": "ppo"}, "loss: there is no 'ppo'; choose one of dpo, ipo, orpo, sft"),
        ({"pairs": "random"}, "pairs: there is no 'random'; choose one of majority, tree"),
        ({"options": {"beta": 0}}, "dpo: beta is 0.0; give a number above 0"),
        ({"options": {"lam": 1}}, "options: dpo has no 'lam'; it has beta, anchor"),
        ({"pairs_options": {"least": 2}}, "majority: least is 2.0; give a share above 0, at most 1"),
        ({"loss": "sft", "options": {"beta": 1}}, "options: sft has no 'beta'; it has none"),
    ):
        with pytest.raises(ValidationError, match=words):
            Preference(**bad)
