"""Which condition is recommended, and what is to be used instead."""

import pytest

from ensemw2s.config import ExperimentConfig
from ensemw2s.evaluation.choice.recommend import is_baseline, recommended_row, rival_of
from ensemw2s.evaluation.conditions import all_conditions
from ensemw2s.results import Cost, Figure, Interval, Row

CONFIG = ExperimentConfig.model_validate({"students": {"method": "auto", "recipes": [{}]}})
CONDITIONS = {each.condition.key: each for each in all_conditions(CONFIG.ensemble.methods, CONFIG.students)}


def row(key: str, val: float, hard: float) -> Row:
    def figure(mean: float) -> Figure:
        return Figure(per_seed=(mean,), interval=Interval(mean=mean, low=mean, high=mean, method="one seed"))

    parts = {"easy_val": {"accuracy": figure(val), "log_loss": figure(1.0)}, "ood_test": {"accuracy": figure(hard)}}
    found, cost = CONDITIONS[key], Cost(training_tokens=0, expert_evaluations=0, flops=0.0)
    kind = found.condition.group
    return Row(key=key, condition=found.condition, label=found.label, how=found.how, kind=kind, parts=parts, cost=cost)


@pytest.mark.parametrize(
    ("key", "taken", "baseline"),
    [
        ("strong_on_easy", (), True),
        ("self_training:xent-soft", (), True),
        ("student:single:xent-soft", (), False),
        ("auto", ("student:single:xent-soft", "student:boosting:xent-soft"), False),
        ("auto", ("strong_on_easy", "student:boosting:xent-soft"), False),
        ("auto", ("strong_on_easy", "self_training:xent-soft"), True),
    ],
)
def test_a_baseline_needs_no_weak_supervision_in_any_seed(key, taken, baseline):
    assert is_baseline(CONDITIONS[key].condition, [CONDITIONS[each].condition for each in taken]) == baseline


def test_a_rival_of_that_is_better_on_easy_validation_data_is_what_to_use():
    rows = [row("majority", 0.5, 0.9), row("tfidf", 0.8, 0.7), row("strong_on_easy", 0.7, 0.6)]
    chosen = recommended_row(rows)
    assert chosen.key == "strong_on_easy"  # what is exported; the tests have no say in either choice
    rival = rival_of(rows, chosen)
    assert rival is not None
    assert rival.row.key == "tfidf"
    assert rival_of([row("tfidf", 0.7, 0.9), chosen], chosen) is None  # no better: the model is used
    assert rival_of([chosen], chosen) is None
