"""What a reader is told: names in words, a verdict of 25 words that does not contradict itself, figures behind it."""

from itertools import product

import pytest

from ensemw2s.config import ExperimentConfig, Recipe, StudentConfig
from ensemw2s.evaluation.choice.recommend import Outside, Rival
from ensemw2s.evaluation.choice.verdict import MOST_WORDS, Standing, details, verdict
from ensemw2s.evaluation.conditions import all_conditions, labels_in_words
from ensemw2s.results import Comparison, Interval, Row
from ensemw2s.services.leaderboard.methods import METHODS
from evaluation.test_recommend import CONDITIONS, row

BOOSTED, SINGLE = "student:boosting:xent-soft", "student:single:xent-soft"


def compared(a: str, b: str, mean: float, half: float = 0.01) -> Comparison:
    difference = Interval(mean=mean, low=mean - half, high=mean + half, method="student-t")
    return Comparison(row=a, baseline=b, part="ood_test", difference=difference, p_value=None)


def standing(chosen: Row, *comparisons: Comparison, rows: tuple[Row, ...] = (), **changes) -> Standing:
    everyone = (*rows, chosen, row("strong_on_easy", 0.5, 0.6))
    return Standing(everyone, chosen, comparisons, Recipe(), n_seeds=changes.pop("n_seeds", 5), **changes)


def test_a_name_says_who_learned_whose_labels_and_how():
    recipes = (Recipe(with_easy=True), Recipe(labels="hard", outside_votes=False))
    students = StudentConfig(recipes=recipes)
    names = {each.condition.key: each for each in all_conditions(["boosting"], students)}
    one = names["student:boosting:xent-soft+easy"]
    assert one.label == "student of the boosted ensemble, trained on soft labels, with the easy labels"
    assert one.how == "trained on soft labels, with the easy labels"
    other = names["self_training:xent-hard-models-alone"]
    assert other.label == "self-trained strong model, on hard labels, without outside voters"


def test_recipes_that_differ_are_named_differently_and_in_words():
    recipes = {spec.recipe.name: spec.recipe for spec in METHODS.values()}
    others = [
        {"loss": "logconf", "options": {"aux_coef": 0.3}},
        {"selection": "confidence", "selection_options": {"share": 0.3}},
        {"curriculum": "difficulty", "curriculum_ramp": 0.7},
        {"with_easy": True, "easy_weight": 2.0, "outside_votes": False},
    ]
    recipes |= {made.name: made for made in map(Recipe.model_validate, others)}
    words = [labels_in_words(recipe) for recipe in recipes.values()]
    assert len(set(words)) == len(recipes)
    assert not any("xent" in each or "+" in each for each in words)


@pytest.mark.parametrize(
    ("gain", "n_seeds", "effect"),
    [
        (0.036, 5, "Weak supervision added 3.6 points."),
        (0.036, 1, "Weak supervision added 3.6 points in its one seed."),
        (0.004, 5, "Weak supervision made no clear difference."),
        (-0.025, 5, "Chosen blind on easy data: strong-on-easy was 2.5 points better."),
    ],
)
def test_the_verdict_says_what_weak_supervision_did_on_the_hard_test(gain, n_seeds, effect):
    run = standing(row(BOOSTED, 0.9, 0.7), compared(BOOSTED, "strong_on_easy", gain), n_seeds=n_seeds)
    assert verdict(run) == f"Use the student of the boosted ensemble: 70.0% right on the hard test. {effect}"


def test_what_self_training_gains_as_well_is_no_gain_of_weak_supervision():
    chosen, alike = row(BOOSTED, 0.9, 0.7), row("self_training:xent-soft", 0.8, 0.7)
    over_easy, same = compared(BOOSTED, "strong_on_easy", 0.036), compared(BOOSTED, alike.key, 0.001)
    alone = standing(chosen, over_easy, same, rows=(alike,))
    assert verdict(alone).endswith("Weak supervision made no clear difference.")
    voters = standing(chosen, over_easy, same, rows=(alike,), outside=Outside(1))  # it learned of these, too
    assert verdict(voters).endswith("Weak supervision added 3.6 points.")
    beaten = standing(chosen, over_easy, compared(BOOSTED, alike.key, -0.02), rows=(alike,))
    assert verdict(beaten).endswith("Chosen blind on easy data: self-training was 2.0 points better.")


def test_a_choice_that_another_beat_on_the_test_is_said_to_be_blind_with_the_figures():
    run = standing(row(BOOSTED, 0.9, 0.7), compared(BOOSTED, "strong_on_easy", -0.025))
    said = " ".join(details(run))
    assert "The choice was blind: it was made on easy validation data" in said
    assert "on the hard test this was better by +2.5 points [+1.5, +3.5]: strong model on easy labels." in said
    assert "blind" not in " ".join(details(standing(run.chosen, compared(BOOSTED, "strong_on_easy", 0.025))))


def test_a_baseline_is_held_against_the_student_that_is_best_on_easy_validation_data():
    """A student that only the test shows to be better is a lucky one."""
    chosen, good, lucky = row("strong_on_easy", 0.9, 0.7), row(BOOSTED, 0.8, 0.7), row(SINGLE, 0.6, 0.9)
    lucky_gain = compared(SINGLE, "strong_on_easy", 0.2)
    same = standing(chosen, compared(BOOSTED, "strong_on_easy", 0.0), lucky_gain, rows=(good, lucky))
    assert verdict(same).endswith("70.0% right on the hard test. Weak supervision made no clear difference.")
    better = standing(chosen, compared(BOOSTED, "strong_on_easy", 0.03), lucky_gain, rows=(good, lucky))
    assert verdict(better).endswith("Chosen blind on easy data: the best student was 3.0 points better.")
    worse = standing(chosen, compared(BOOSTED, "strong_on_easy", -0.03), rows=(good,))
    assert verdict(worse).endswith("Weak supervision cost 3.0 points.")


def test_a_rival_is_what_to_use_and_the_trained_model_is_told_beside_it():
    chosen, tfidf = row("strong_on_easy", 0.7, 0.6), row("tfidf", 0.8, 0.7)
    run = standing(chosen, rival=Rival(tfidf))
    assert verdict(run) == (
        "Use no language model: TF-IDF on easy labels is 70.0% right on the hard test. "
        "Weak supervision did not earn its cost."
    )
    assert any(each.startswith("The best trained model: strong model on easy labels") for each in details(run))
    steadier = standing(chosen, rival=Rival(tfidf, (0.9, 0.1)))
    assert "change less with the labelled ones that are drawn (kappa 0.90 against 0.10)" in " ".join(details(steadier))
    better = standing(chosen, compared("strong_on_easy", "tfidf", 0.04), rival=Rival(tfidf))
    assert verdict(better).endswith("Chosen blind on easy data: strong-on-easy was 4.0 points better.")


@pytest.mark.parametrize(
    ("key", "supervision"),
    [
        ("strong_on_easy", "(a baseline, no weak supervision)"),
        ("self_training:xent-soft", "(supervised by itself and 2 outside voters)"),
        (SINGLE, "(supervised by one weak expert and 2 outside voters)"),
        (BOOSTED, "(supervised by the weak ensemble and 2 outside voters)"),
    ],
)
def test_the_details_say_who_supervised(key, supervision):
    assert supervision in details(standing(row(key, 0.9, 0.7), outside=Outside(2)))[0]


def test_the_details_of_auto_say_what_it_took():
    taken = [CONDITIONS[each].condition for each in ("strong_on_easy", BOOSTED)]
    said = details(standing(row("auto", 0.9, 0.7), auto_choices=taken))[0]
    assert "in 1 of 2 seeds a baseline, no weak supervision" in said


def test_no_verdict_has_more_than_25_words():
    methods = ("single", "independent", "bagging", "boosting", "subspace", "layers")
    students = ExperimentConfig.model_validate({"students": {"method": "auto", "recipes": [{}]}}).students
    names = all_conditions(methods, students)
    assert {each.condition.key for each in names} >= set(CONDITIONS)
    base = row("strong_on_easy", 0.5, 0.6)
    for each, gain, tiny, is_rival in product(names, (-0.1, 0.0, 0.1), (False, True), (False, True)):
        here = {"condition": each.condition, "key": each.condition.key, "label": each.label, "how": each.how}
        made = base.model_copy(update=here)
        comparisons = [compared(made.key, "strong_on_easy", gain)]
        chosen = base if is_rival else made
        run = standing(chosen, *comparisons, is_tiny=tiny, rival=Rival(made) if is_rival else None)
        assert len(verdict(run).split()) <= MOST_WORDS
        assert not tiny or "these figures mean nothing" in verdict(run)
