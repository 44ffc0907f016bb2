"""WeakEnsemble: scikit-learn's checks, parity with its AdaBoost, texts, pools and learners of one's own."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.ensemble import AdaBoostClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from ensemw2s import WeakEnsemble
from ensemw2s.config import ModelConfig
from ensemw2s.errors import ConfigError, DataError, ModelError
from tiny_run import stepped

STUMP = DecisionTreeClassifier(max_depth=1)


NOT_APPLIED = {
    "check_do_not_raise_errors_in_init_or_set_params": "the tests check annotations at run time: wrong types raise",
}


@parametrize_with_checks(
    [
        WeakEnsemble(LogisticRegression(), method="bagging", n_rounds=2, random_state=0),
        # A prior that every stump beats: some checks have labels without any pattern.
        WeakEnsemble(DecisionTreeClassifier(max_depth=3), n_rounds=3, prior=0.99, random_state=0),
    ],
    expected_failed_checks=lambda estimator: NOT_APPLIED,
)
def test_it_passes_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


def data(n_classes: int = 2, **settings):
    settings = {"n_samples": 300, "n_informative": 6, "flip_y": 0.1, "random_state": 0} | settings
    return make_classification(n_classes=n_classes, **settings)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_boosting_of_trees_has_the_errors_and_weights_of_scikit_learn(n_classes):
    X, y = data(n_classes)
    tree = DecisionTreeClassifier(max_depth=2, random_state=0)
    theirs = AdaBoostClassifier(tree, n_estimators=6, random_state=0).fit(X, y)
    ours = WeakEnsemble(
        tree, n_rounds=6, method_options={"max_expert_weight": 100.0}, validation_fraction=0, random_state=0
    ).fit(X, y)
    assert ours.expert_errors_ == pytest.approx(theirs.estimator_errors_, abs=1e-6)
    assert ours.expert_weights_ == pytest.approx(theirs.estimator_weights_, abs=1e-5)
    assert (ours.n_experts_, ours.temperature_) == (6, 1.0)
    for mine, its in zip(ours.staged_predict_proba(X), theirs.staged_predict(X), strict=True):
        assert len(mine) == len(its)


def test_the_last_voting_stage_is_the_prediction_and_the_votes_say_the_same():
    X, y = data(3)
    names = np.array(["red", "green", "blue"])[y]
    ensemble = WeakEnsemble(STUMP, n_rounds=6, random_state=0).fit(X[:200], names[:200])
    stages = list(ensemble.staged_predict_proba(X))
    assert len(stages) == len(ensemble.experts_) == len(ensemble.expert_weights_)
    probabilities = ensemble.predict_proba(X)
    assert np.allclose(stages[ensemble.n_experts_ - 1], probabilities)
    votes = ensemble.label(X)
    assert np.allclose(votes.probabilities, probabilities, atol=1e-6)
    assert votes.member_probabilities.shape == (ensemble.n_experts_, 300, 3)
    assert torch.allclose(votes.confidence.double(), torch.from_numpy(probabilities.max(1)), atol=1e-6)
    same = votes.member_probabilities.argmax(-1) == votes.probabilities.argmax(-1)
    assert torch.equal(votes.agreement, same.float().mean(0))
    assert votes.labels == ensemble.predict(X).tolist()
    assert votes.classes == ("blue", "green", "red")


def test_the_same_seed_gives_the_same_ensemble_and_another_one_another():
    X, y = data()
    found = [
        WeakEnsemble(STUMP, "bagging", n_rounds=3, random_state=seed).fit(X, y).predict_proba(X) for seed in (0, 0, 1)
    ]
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_size_and_temperature_do_not_see_the_training_part():
    X, y = data()
    ensemble = WeakEnsemble(DecisionTreeClassifier(), "independent", n_rounds=2, random_state=0).fit(X, y)
    # A tree knows its training part by heart; honest confidence shows that the temperature does not come from there.
    assert ensemble.temperature_ > 1.5


TEXTS = [f"{word} {i}" for i in range(20) for word in ("good fine nice", "bad poor awful")]
LABELS = ["pos", "neg"] * 20


def words() -> object:
    return make_pipeline(TfidfVectorizer(), LogisticRegression())


@pytest.mark.parametrize("method", ["independent", "bagging", "boosting", "subspace", "layers"])
def test_a_model_s_name_reads_texts(method):
    training = stepped(epochs=20, learning_rate=0.02, batch_size=16)
    ensemble = WeakEnsemble("tiny", method, n_rounds=2, training=training, random_state=0).fit(TEXTS, LABELS)
    assert ensemble.score(TEXTS, LABELS) > 0.9
    assert set(ensemble.experts_[0].state()) == {"score.weight", "scale"}
    assert ensemble.label(["a nice one", "a poor one", "another"]).probabilities.shape == (3, 2)


def test_a_model_s_layers_and_adapter_come_from_its_configuration():
    weak = ModelConfig(model="tiny", n_layers=2, adapter="top", top_layers=1)
    training = stepped(epochs=3, learning_rate=0.01, batch_size=16)
    ensemble = WeakEnsemble(weak, "bagging", n_rounds=1, training=training, random_state=0).fit(TEXTS, LABELS)
    assert any("layers.0" in name for name in ensemble.experts_[0].state())


def test_a_pipeline_reads_texts_and_boosting_weighs_its_last_step():
    ensemble = WeakEnsemble(words(), n_rounds=2, random_state=0).fit(TEXTS, LABELS)
    assert ensemble.predict(["good", "poor"]).tolist() == ["pos", "neg"]


def test_the_members_of_a_pool_are_dealt_to_the_rounds():
    X, y = data()
    pool = [STUMP, LogisticRegression()]
    ensemble = WeakEnsemble(pool, "independent", n_rounds=4, random_state=0).fit(X, y)
    kinds = [type(expert.estimator) for expert in ensemble.experts_]
    assert kinds == [DecisionTreeClassifier, LogisticRegression] * 2
    mixed = WeakEnsemble(["tiny", words()], "independent", n_rounds=2, random_state=0).fit(TEXTS, LABELS)
    assert mixed.score(TEXTS, LABELS) > 0.9


class Counting:
    """Knows the share of each class among its rows; keeps what it was given."""

    def __init__(self):
        self.given = []

    def fit(self, X, target, sample_weight, *, seed):
        self.given.append((X, target, sample_weight, seed))
        share = (target * sample_weight[:, None]).sum(0) / sample_weight.sum()
        return Share(share)


class Share:
    def __init__(self, share):
        self.share = share

    def log_probs(self, X):
        return self.share.log().expand(len(X), -1)

    def state(self):
        return {"share": self.share}


def test_a_learner_of_one_s_own_reads_rows_of_any_form():
    rows, learner = [{"n": i} for i in range(20)], Counting()
    labels = [0] * 15 + [1] * 5
    ensemble = WeakEnsemble(learner, n_rounds=3, prior=0.9, validation_fraction=0.2, random_state=0).fit(rows, labels)
    (X, target, weights, _), *later = learner.given
    assert all(isinstance(row, dict) for row in X)
    assert len(X) == 16
    assert target.shape == (16, 2)
    assert torch.equal(weights, torch.ones(16))
    # The rare class is wrong, so the second round weighs it up; the mean stays 1.
    _, target, weights, _ = later[0]
    assert float(weights.mean()) == pytest.approx(1.0)
    assert float(weights[target[:, 1] == 1].min()) > 1 > float(weights[target[:, 0] == 1].max())
    assert ensemble.predict([{"n": 100}]).tolist() == [0]


def test_a_draw_without_a_class_leaves_that_class_a_little_probability():
    X = np.arange(24.0)[:, None]
    y = np.array([0] * 12 + [1] * 11 + [2])
    ensemble = WeakEnsemble(LogisticRegression(), "bagging", n_rounds=8, random_state=0).fit(X, y)
    assert {len(expert.classes) for expert in ensemble.experts_} == {2, 3}
    assert ensemble.label(X).member_probabilities.log().isfinite().all()


def test_a_classifier_without_probabilities_votes_for_what_it_predicts():
    X, y = data()
    ensemble = WeakEnsemble(RidgeClassifier(), "bagging", n_rounds=3, random_state=0).fit(X, y)
    member = ensemble.label(X).member_probabilities
    assert float(member.amax(-1).min()) > 0.99


def test_equal_weights_need_no_sample_weight_and_boosted_ones_do():
    X, y = data()
    WeakEnsemble(KNeighborsClassifier(), "bagging", n_rounds=2, random_state=0).fit(X, y)
    by_draw = WeakEnsemble(KNeighborsClassifier(), n_rounds=2, method_options={"reweight": "resample"}, random_state=0)
    assert by_draw.fit(X, y).score(X, y) > 0.8
    with pytest.raises(ConfigError, match="KNeighborsClassifier takes no sample_weight"):
        WeakEnsemble(KNeighborsClassifier(), n_rounds=2, random_state=0).fit(X, y)


def test_boosting_may_follow_errors_on_held_out_folds():
    X, y = data()
    tree = DecisionTreeClassifier(max_depth=6)
    by_train, by_folds = (
        clone(WeakEnsemble(tree, n_rounds=3, random_state=0)).set_params(error_source=source).fit(X, y)
        for source in ("train", "folds")
    )
    assert by_folds.expert_errors_[0] > by_train.expert_errors_[0]


@pytest.mark.parametrize(
    ("weak", "X", "y", "error", "words_"),
    [
        ("tiny", ["a", "b"], ["x"], ValueError, "inconsistent numbers of samples"),
        ("tiny", ["a", ""], ["x", "y"], ValueError, r"X\[1\] is blank"),
        ("tiny", ["a", None], ["x", "y"], ValueError, r"X\[1\] is None, not a text"),
        ("tiny", "abc", ["x"], ValueError, "sequence of texts"),
        ("tiny", [], [], ValueError, "no text"),
        ("tiny", ["a", "b"], ["x", "x"], ValueError, "only one class"),
        ("tiny", ["a", "b" * 3000], ["x", "y"], DataError, "tokens"),
        (STUMP, [[1.0], [np.nan]], [0, 1], ValueError, "NaN"),
        (LogisticRegression(), [[1.0], [np.nan]], [0, 1], ValueError, "NaN"),
        (STUMP, [[1.0], [2.0]], [0, 0], ValueError, "only one class"),
        (STUMP, [[1.0], [2.0]], [0], ValueError, "inconsistent numbers of samples"),
        (3, [[1.0], [2.0]], [0, 1], TypeError, "weak: got 3"),
        ([], [[1.0], [2.0]], [0, 1], ValueError, "the list is empty"),
    ],
)
def test_bad_input_is_named(weak, X, y, error, words_):
    if weak is STUMP and error is ValueError and words_ == "NaN":
        X = [[1.0], [np.inf]]
        words_ = "infinity"
    with pytest.raises(error, match=words_):
        WeakEnsemble(weak, "bagging", n_rounds=1, random_state=0).fit(X, y)


@pytest.mark.parametrize(
    ("changes", "error", "words_"),
    [
        ({"method": "bosting"}, ValueError, "there is no 'bosting'"),
        ({"n_rounds": 0}, ValueError, "n_rounds"),
        ({"validation_fraction": 1.0}, ValueError, "validation_fraction"),
        ({"method_options": {"power": 2}}, ConfigError, "bagging has no 'power'"),
        ({"method": "boosting", "method_options": {"shrinkage": 2}}, ConfigError, "shrinkage"),
        ({"method": "layers"}, ConfigError, "different depths"),
        ({"method": "boosting", "prior": 1e-9}, ModelError, "no better than the prior"),
        ({"prior": "pretrained"}, ValueError, "prior"),
    ],
)
def test_a_bad_parameter_is_named(changes, error, words_):
    X, y = data()
    with pytest.raises(error, match=words_):
        WeakEnsemble(STUMP, **({"method": "bagging", "n_rounds": 2, "random_state": 0} | changes)).fit(X, y)
