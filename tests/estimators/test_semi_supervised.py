"""EnsemW2SClassifier: scikit-learn's checks, marks of unlabelled rows, and the comparison with the baseline."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from ensemw2s import EnsemW2SClassifier
from ensemw2s.estimators.classifier import AUTO, BASELINE
from tiny_run import stepped

STUMP = DecisionTreeClassifier(max_depth=1)
NOT_APPLIED = {
    "check_do_not_raise_errors_in_init_or_set_params": "the tests check annotations at run time: wrong types raise",
    "check_classifiers_classes": "it has -1 as a class, which marks unlabelled rows here",
}
TRAINING = stepped(epochs=20, learning_rate=0.02, batch_size=16)


@parametrize_with_checks(
    [EnsemW2SClassifier(STUMP, LogisticRegression(), method="bagging", n_rounds=2, random_state=0)],
    expected_failed_checks=lambda estimator: NOT_APPLIED,
)
def test_it_passes_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def data():
    """Rows, their true labels, and the labels of every fifth."""
    X, truth = make_classification(500, n_features=10, n_informative=6, flip_y=0.05, random_state=0)
    y = np.where(np.arange(500) % 5 == 0, truth, -1)
    return X, truth, y


@pytest.mark.parametrize("method", ["bagging", "boosting"])
def test_the_chosen_student_has_the_best_score_on_held_out_labels(data, method):
    X, truth, y = data
    model = EnsemW2SClassifier(STUMP, LogisticRegression(), method=method, random_state=0).fit(X, y)
    assert list(model.scores_) == [BASELINE, *(recipe.name for recipe in AUTO)]
    assert model.scores_[model.chosen_] == max(model.scores_.values())
    assert model.score(X, truth) > 0.75
    assert np.array_equal(model.predict(X), model.student_.predict(X))
    assert model.predict_proba(X).shape == (500, 2)


def second_column(X):
    return X[:, 1:]


def test_useless_weak_models_leave_the_baseline():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=400), rng.permutation(400)])
    truth = (X[:, 0] > 0).astype(int)
    y = np.where(np.arange(400) < 100, truth, -1)

    weak = make_pipeline(FunctionTransformer(second_column), DecisionTreeClassifier())
    model = EnsemW2SClassifier(weak, LogisticRegression(), method="bagging", n_rounds=1, random_state=0)
    assert model.fit(X, y).chosen_ in (BASELINE, AUTO[0].name, AUTO[1].name)
    assert model.scores_[AUTO[2].name] < model.scores_[BASELINE] <= model.scores_[model.chosen_]


def test_a_named_recipe_learns_from_all_labelled_rows(data):
    X, truth, y = data
    model = EnsemW2SClassifier(STUMP, LogisticRegression(), recipe={"with_easy": True}, random_state=0).fit(X, y)
    assert (model.chosen_, model.scores_) == ("xent-soft+easy", {})
    assert len(model.student_.labels_.soft) == 400
    assert model.score(X, truth) > 0.75


@pytest.mark.parametrize("names", [None, ["red", "blue"]])
def test_numbers_are_unlabelled_by_minus_one_and_texts_by_none(data, names):
    X, truth, y = data
    given = [None if label < 0 else names[label] for label in y] if names else y.astype(float)
    model = EnsemW2SClassifier(STUMP, LogisticRegression(), recipe="xent", n_rounds=3, random_state=0).fit(X, given)
    assert model.classes_.tolist() == (["blue", "red"] if names else [0.0, 1.0])
    assert len(model.student_.labels_.soft) == 400
    assert model.score(X, np.array(names)[truth] if names else truth) > 0.7


def test_without_unlabelled_rows_the_strong_model_learns_the_labels(data):
    X, truth, _ = data
    model = EnsemW2SClassifier(STUMP, LogisticRegression(), random_state=0).fit(X, truth)
    assert (model.chosen_, model.ensemble_) == (BASELINE, None)
    assert np.array_equal(model.predict(X), LogisticRegression().fit(X, truth).predict(X))


def test_a_strong_model_that_weighs_no_rows_learns_hard_labels(data):
    X, truth, y = data
    model = EnsemW2SClassifier(STUMP, KNeighborsClassifier(), random_state=0).fit(X, y)
    assert all("hard" in name for name in model.scores_ if name != BASELINE)
    assert model.score(X, truth) > 0.7


def test_texts_are_read_by_pretrained_models(tmp_path):
    texts = [f"{word} {i}" for i in range(30) for word in ("good fine nice", "bad poor awful")]
    labels = [["pos", "neg"][i % 2] if i < 30 else None for i in range(60)]
    settings = {"weak_training": TRAINING, "strong_training": TRAINING, "n_rounds": 2, "random_state": 0}
    model = EnsemW2SClassifier("tiny", "tiny", **settings).fit(texts, labels)
    assert model.score(texts, ["pos", "neg"] * 30) > 0.9
    assert model.student_.strong == "tiny"
    model.student_.save(tmp_path / "student")
    assert clone(model).get_params()["recipe"] == "auto"


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([-1] * 6, "every row is unlabelled"),
        ([0, 0, -1, -1, -1, -1], "only one class"),
        ([0, 1, -1, -1, -1, -1], "holds out none"),
        ([0, 1], "inconsistent numbers of samples"),
    ],
)
def test_bad_labels_are_named(y, words):
    X = np.arange(12.0).reshape(6, 2)
    with pytest.raises(ValueError, match=words):
        EnsemW2SClassifier(STUMP, LogisticRegression(), method="bagging", random_state=0).fit(X, y)
