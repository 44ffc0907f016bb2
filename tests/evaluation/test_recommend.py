"""What the headline says of every condition that can be recommended."""

import pytest

from ensemw2s.config import ExperimentConfig
from ensemw2s.evaluation.conditions import all_conditions
from ensemw2s.evaluation.recommend import headline, is_baseline, recommended_row, rival_of
from ensemw2s.results import Cost, Figure, Interval, Row

CONFIG = ExperimentConfig.model_validate({"students": {"method": "auto", "recipes": [{}]}})
CONDITIONS = {each.condition.key: each for each in all_conditions(CONFIG.ensemble.methods, CONFIG.students)}


def said(key: str, taken: tuple[str, ...] = ()) -> tuple[str, bool]:
    figure = Figure(per_seed=(0.5,), interval=Interval(mean=0.5, low=0.4, high=0.6, method="one seed"))
    parts = {"ood_test": {"accuracy": figure}}
    labelled, cost = CONDITIONS[key], Cost(training_tokens=0, expert_evaluations=0, flops=0.0)
    condition = labelled.condition
    row = Row(
        key=key, condition=condition, label=labelled.label, kind=condition.group, parts=parts, cost=cost, n_experts=()
    )
    chosen = [CONDITIONS[each].condition for each in taken]
    text = headline(row, (), primary=CONFIG.students.recipes[0].name, auto_choices=chosen)
    return text.partition(":")[0], is_baseline(condition, chosen)


@pytest.mark.parametrize(
    ("key", "sentence", "baseline"),
    [
        ("strong_on_easy", "Use the strong model on easy labels (a baseline, no weak supervision)", True),
        ("self_training:xent-soft", "Use self-training, xent-soft (a baseline, no weak supervision)", True),
        (
            "student:single:xent-soft",
            "Use the student of the single weak expert, xent-soft (supervised by one weak expert)",
            False,
        ),
        (
            "student:boosting:xent-soft",
            "Use the student of the boosted ensemble, xent-soft (supervised by the weak ensemble)",
            False,
        ),
    ],
)
def test_the_headline_says_who_supervised_the_row(key, sentence, baseline):
    assert said(key) == (sentence, baseline)


@pytest.mark.parametrize(
    ("taken", "supervision", "baseline"),
    [
        (("student:single:xent-soft", "student:boosting:xent-soft"), "a student of weak labels in every seed", False),
        (("strong_on_easy", "student:boosting:xent-soft"), "in 1 of 2 seeds a baseline, no weak supervision", False),
        (("strong_on_easy", "self_training:xent-soft"), "a baseline, no weak supervision", True),
    ],
)
def test_the_headline_of_auto_says_what_it_took(taken, supervision, baseline):
    assert said("auto", taken) == (f"Use what auto chose on harder easy data ({supervision})", baseline)


def row(key: str, val: float, hard: float) -> Row:
    def figure(mean: float) -> Figure:
        return Figure(per_seed=(mean,), interval=Interval(mean=mean, low=mean, high=mean, method="one seed"))

    parts = {"easy_val": {"accuracy": figure(val), "log_loss": figure(1.0)}, "ood_test": {"accuracy": figure(hard)}}
    found, cost = CONDITIONS[key], Cost(training_tokens=0, expert_evaluations=0, flops=0.0)
    return Row(
        key=key, condition=found.condition, label=found.label, kind=found.condition.group, parts=parts, cost=cost
    )


def test_a_rival_of_that_is_better_on_easy_validation_data_is_what_to_use():
    rows = [row("majority", 0.5, 0.9), row("tfidf", 0.8, 0.7), row("strong_on_easy", 0.7, 0.6)]
    chosen = recommended_row(rows)
    assert chosen.key == "strong_on_easy"  # what is exported; the tests have no say in either choice
    rival = rival_of(rows, chosen)
    assert rival is not None
    assert rival.row.key == "tfidf"
    text = headline(chosen, (), primary="xent-soft", rival=rival)
    assert text.startswith("Use no language model: TF-IDF and logistic regression on easy labels, with 70.0% [")
    assert "The best trained model is the strong model on easy labels (a baseline, no weak supervision): 60.0%" in text
    assert rival_of([row("tfidf", 0.7, 0.9), chosen], chosen) is None  # no better: the model is used
    assert rival_of([chosen], chosen) is None
