"""Easy-val has no hard question, so where outside voters are believed, what learned their votes is chosen."""

import torch

from ensemw2s.config import ExperimentConfig
from ensemw2s.evaluation.choice.recommend import Outside, recommended_row, rival_of
from ensemw2s.evaluation.conditions import all_conditions
from ensemw2s.evaluation.scored import VAL, Scored, ScoredSeed
from ensemw2s.results import Cost, Figure, Interval, Row
from ensemw2s.results.conditions import STRONG_ON_EASY
from evaluation.test_table import scored_seed

RECIPES = [{"with_easy": True}, {"with_easy": True, "outside_votes": False}]
CONFIG = ExperimentConfig.model_validate(
    {"task": {"name": "sentiment", "raters_per_item": 1}, "students": {"recipes": RECIPES}}
)
CONDITIONS = {each.condition.key: each for each in all_conditions(CONFIG.ensemble.methods, CONFIG.students)}
WITH, ALONE = "student:boosting:xent-soft+easy", "student:boosting:xent-soft-models-alone+easy"
BELIEVED = Outside(1, frozenset(["xent-soft-models-alone+easy"]), are_believed=True)


def made(**right: int) -> tuple[list[Row], list[ScoredSeed]]:
    """Rows, and one seed, of 100 easy-val questions of which each condition gets the first so many right."""
    rows = []
    for key, n in right.items():
        labelled, mean = CONDITIONS[key], n / 100
        figure = Figure(per_seed=(mean,), interval=Interval(mean=mean, low=mean, high=mean, method="one seed"))
        rows.append(
            Row(
                key=key,
                condition=labelled.condition,
                label=labelled.label,
                kind=labelled.condition.group,
                parts={"easy_val": {"accuracy": figure, "log_loss": figure}},
                cost=Cost(training_tokens=0, expert_evaluations=0, flops=0.0),
            )
        )
    seed = scored_seed(0)
    other = seed.conditions[STRONG_ON_EASY]
    seed.conditions.clear()
    for key, n in right.items():
        val = Scored(torch.arange(100) < n, {"log_loss": 1.0})
        seed.conditions[CONDITIONS[key].condition] = type(other)({**other.parts, VAL: val}, other.cost)
    return rows, [seed]


def chosen(outside: Outside, **right: int) -> tuple[str, str | None]:
    rows, seeds = made(**right)
    row = recommended_row(rows, seeds, outside)
    rival = rival_of(rows, row, seeds, outside)
    return row.key, None if rival is None else rival.row.key


def test_votes_that_do_no_harm_on_easy_questions_are_used():
    right = {"boosting": 95, "strong_on_easy": 92, WITH: 90, ALONE: 93, "tfidf": 60}
    assert chosen(BELIEVED, **right) == (WITH, None)
    assert chosen(Outside(1, BELIEVED.without), **right) == (ALONE, "boosting")


def test_votes_that_do_harm_are_not():
    right = {"boosting": 95, "strong_on_easy": 92, WITH: 80, ALONE: 93}
    assert chosen(BELIEVED, **right) == (ALONE, "boosting")


def test_a_trivial_baseline_competes_all_the_same():
    assert chosen(BELIEVED, strong_on_easy=60, **{WITH: 60}, tfidf=99) == (WITH, "tfidf")
