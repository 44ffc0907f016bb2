"""Which of two models to use where easy validation data cannot tell."""

import pytest
import torch
from sklearn.metrics import cohen_kappa_score

from ensemw2s.evaluation.choice.recommend import rival_of
from ensemw2s.evaluation.choice.steadiness import can_tell_apart, steadiness
from ensemw2s.evaluation.choice.verdict import details, verdict
from ensemw2s.evaluation.scored import VAL, Scored, ScoredSeed
from ensemw2s.results.conditions import MAJORITY, STRONG_ON_EASY, TFIDF, ensemble
from evaluation.test_recommend import row
from evaluation.test_table import scored_seed
from evaluation.test_verdict import standing

ROWS = torch.tensor([[2, 3, 5, 7, 11, 13], [13, 11, 3, 17, 7, 5]])
"""Unlabelled examples of two seeds, of which they share five."""
TRUTH = {2: 0, 3: 1, 5: 2, 7: 0, 11: 1, 13: 2, 17: 0}


def seeds(answers: dict, right: dict) -> list[ScoredSeed]:
    """Two seeds whose conditions answer so: by condition and seed a shift of the true class of each example."""
    found = []
    for s, rows in enumerate(ROWS):
        made, conditions = scored_seed(s), {}
        for condition, shifts in answers.items():
            classes = torch.tensor([(TRUTH[r] + shifts[s][i]) % 3 for i, r in enumerate(rows.tolist())])
            old = made.conditions[STRONG_ON_EASY]
            parts = {**old.parts, VAL: Scored(right[condition], {"log_loss": 1.0})}
            conditions[condition] = type(old)(parts, old.cost, hard_answers=classes)
        found.append(ScoredSeed(s, rows, rows, conditions, [], None, made.signals, None, None, {}))
    return found


def first(n: int) -> torch.Tensor:
    return torch.arange(80) < n


SAME = ([0] * 6, [0] * 6)
OTHER = ([0] * 6, [1, 1, 1, 1, 0, 0])


def test_steadiness_is_the_kappa_of_what_both_seeds_drew():
    made = seeds({TFIDF: SAME, STRONG_ON_EASY: OTHER}, {TFIDF: first(80), STRONG_ON_EASY: first(80)})
    assert steadiness(made, TFIDF) == pytest.approx(1.0)
    one = [1, 2, 0, 1, 2]  # of 3, 5, 7, 11, 13 in the first seed
    other = [(1 + 1) % 3, 2, 0, (1 + 1) % 3, (2 + 1) % 3]
    assert steadiness(made, STRONG_ON_EASY) == pytest.approx(cohen_kappa_score(one, other))
    assert steadiness(made[:1], TFIDF) is None


def test_one_answer_alone_is_not_steady_but_empty():
    shift = tuple([-TRUTH[r] for r in rows.tolist()] for rows in ROWS)
    made = seeds({MAJORITY: shift}, {MAJORITY: first(80)})
    assert made[0].conditions[MAJORITY].hard_answers.tolist() == [0] * 6
    assert steadiness(made, MAJORITY) == 0.0


def test_mc_nemars_test_tells_apart_what_differs_on_enough_items():
    right = {TFIDF: first(70), STRONG_ON_EASY: first(80)}
    made = seeds({TFIDF: SAME, STRONG_ON_EASY: SAME}, right)
    assert can_tell_apart(made, TFIDF, STRONG_ON_EASY)  # 20 of 20
    assert not can_tell_apart(made[:1], TFIDF, TFIDF)
    close = seeds({TFIDF: SAME, STRONG_ON_EASY: SAME}, right | {TFIDF: first(79)})
    assert not can_tell_apart(close, TFIDF, STRONG_ON_EASY)  # 2 of 2: p = 0.5


@pytest.mark.parametrize(
    ("val", "steady", "is_used"),
    [
        ((79, 80), (SAME, OTHER), True),  # not told apart, and steadier
        ((80, 79), (OTHER, SAME), False),  # a little better on easy-val, but less steady
        ((70, 80), (SAME, OTHER), False),  # told apart
        ((80, 70), (OTHER, SAME), True),
    ],
)
def test_a_rival_of_is_used_where_it_is_better_or_as_good_and_steadier(val, steady, is_used):
    right = {TFIDF: first(val[0]), STRONG_ON_EASY: first(val[1])}
    made = seeds({TFIDF: steady[0], STRONG_ON_EASY: steady[1]}, right)
    rows = [
        row(key, n / 80, 0.9).model_copy(update={"steadiness": steadiness(made, condition)})
        for key, condition, n in (("tfidf", TFIDF, val[0]), ("strong_on_easy", STRONG_ON_EASY, val[1]))
    ]
    rival = rival_of(rows, rows[1], made)
    assert (rival is not None) == is_used
    if rival is not None and rival.steadiness is not None:
        said = " ".join(details(standing(rows[1], rival=rival)))
        assert "change less with the labelled ones that are drawn (kappa 1.00 against 0.1" in said


def test_the_best_ensemble_itself_competes_with_its_students():
    boosted, single = ensemble("boosting"), ensemble("single")
    right = {boosted: first(80), single: first(78), STRONG_ON_EASY: first(70)}
    made = seeds(dict.fromkeys(right, SAME), right)
    keys = {boosted: "boosting", single: "single", STRONG_ON_EASY: "strong_on_easy"}
    rows = [row(key, float(right[condition].double().mean()), 0.8) for condition, key in keys.items()]
    rival = rival_of(rows, rows[-1], made)
    assert rival is not None
    assert rival.row.key == "boosting"
    run = standing(rows[-1], rival=rival)
    assert verdict(run).startswith("Use the boosted ensemble itself: 80.0% right")
    assert any(said.startswith("The best trained model: strong model on easy labels") for said in details(run))
    assert rival_of([*rows[1:2], rows[0]], rows[0], made) is None  # the single expert is not above it
