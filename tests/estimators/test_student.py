"""Student: scikit-learn's checks, soft labels, recipes, texts, learners of one's own, and folders."""

import json

import numpy as np
import pytest
import torch
from sklearn.datasets import make_classification
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from ensemw2s import Student, WeakEnsemble, load_student
from ensemw2s.config import ModelConfig, Recipe
from ensemw2s.core.labels import Votes
from ensemw2s.errors import ConfigError, ModelError
from ensemw2s.export.classifier import export_student
from ensemw2s.tables import LABEL_MODELS, LOSSES, SELECTIONS
from tiny_run import READ_JUDGES, stepped

NOT_APPLIED = {
    "check_do_not_raise_errors_in_init_or_set_params": "the tests check annotations at run time: wrong types raise",
}
TRAINING = stepped(epochs=20, learning_rate=0.02, batch_size=16)
TEXTS = [f"{word} {i}" for i in range(20) for word in ("good fine nice", "bad poor awful")]
LABELS = ["pos", "neg"] * 20
EASY, HARD = slice(0, 16), slice(16, 40)


@parametrize_with_checks(
    [Student(LogisticRegression()), Student(DecisionTreeClassifier(max_depth=3), random_state=0)],
    expected_failed_checks=lambda estimator: NOT_APPLIED,
)
def test_it_passes_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def arrays():
    """Easy rows with labels, hard rows with an ensemble's votes, and the truth of all."""
    X, y = make_classification(400, random_state=0)
    ensemble = WeakEnsemble(DecisionTreeClassifier(max_depth=1), n_rounds=5, random_state=0).fit(X[:150], y[:150])
    return X, y, ensemble.label(X[150:])


@pytest.fixture(scope="module")
def text_votes():
    ensemble = WeakEnsemble("tiny", "bagging", n_rounds=3, training=TRAINING, random_state=0)
    return ensemble.fit(TEXTS[EASY], LABELS[EASY]).label(TEXTS[HARD])


def test_soft_labels_are_rows_repeated_with_their_probabilities_as_weights(arrays):
    X, _, votes = arrays
    student = Student(LogisticRegression(), random_state=0).fit(X[150:], votes)
    soft = votes.probabilities.double().numpy()
    theirs = LogisticRegression().fit(
        np.repeat(X[150:], 2, axis=0), np.tile([0, 1], len(soft)), sample_weight=soft.reshape(-1)
    )
    assert np.allclose(student.predict_proba(X), theirs.predict_proba(X), atol=1e-5)


def test_votes_their_probabilities_and_certain_labels_are_read_alike(arrays):
    X, _, votes = arrays
    student = Student(LogisticRegression(), random_state=0)
    by_votes = student.fit(X[150:], votes).predict_proba(X)
    assert np.array_equal(by_votes, student.fit(X[150:], votes.probabilities.numpy()).predict_proba(X))
    hard = Student(LogisticRegression(), {"labels": "hard"}, random_state=0)
    by_votes = hard.fit(X[150:], votes).predict_proba(X)
    assert np.array_equal(by_votes, student.fit(X[150:], votes.labels).predict_proba(X))


@pytest.mark.parametrize(
    "recipe",
    [
        *({"label_model": name} for name in LABEL_MODELS if name not in READ_JUDGES),
        *({"selection": name, "with_easy": True} for name in SELECTIONS),
        {"with_easy": True, "easy_weight": 4.0, "weigh_by": "confidence"},
    ],
    ids=str,
)
def test_a_classifier_learns_every_label_model_and_selection(arrays, recipe):
    X, y, votes = arrays
    student = Student(LogisticRegression(), recipe, random_state=0).fit(X[150:], votes, easy=(X[:150], y[:150]))
    assert student.score(X[150:], y[150:]) > 0.75


@pytest.mark.parametrize("loss", LOSSES)
def test_a_pretrained_model_learns_every_loss(text_votes, loss):
    student = Student("tiny", loss, training=TRAINING, random_state=0).fit(TEXTS[HARD], text_votes)
    assert student.score(TEXTS[HARD], text_votes.labels) > 0.9
    assert student.predict_proba(TEXTS).sum(1) == pytest.approx(np.ones(len(TEXTS)))


@pytest.mark.parametrize("adapter", ["head", "top"])
def test_selections_read_a_pretrained_model_s_features_and_opinion(text_votes, adapter):
    strong = ModelConfig(model="tiny", adapter=adapter, top_layers=1)
    recipe = {"selection": "self-knowledge", "with_easy": True, "curriculum": "confidence"}
    training = TRAINING.model_copy(update={"epochs": 5})
    student = Student(strong, recipe, training=training, random_state=0)
    assert student.fit(TEXTS[HARD], text_votes, easy=(TEXTS[EASY], LABELS[EASY])).score(TEXTS, LABELS) > 0.8


def test_the_same_seed_gives_the_same_student(text_votes):
    one, same, other = (
        Student("tiny", training=TRAINING, random_state=seed).fit(TEXTS[HARD], text_votes).predict_proba(TEXTS)
        for seed in (0, 0, 1)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_learner_of_one_s_own_may_be_the_strong_model():
    class Lookup:
        """Knows the mean target of every key."""

        def fit(self, X, target, sample_weight, *, seed):
            keys = sorted({row["key"] for row in X})
            means = {
                key: target[[i for i, row in enumerate(X) if row["key"] == key]].mean(0).clamp_min(1e-6) for key in keys
            }
            return Known(means)

    class Known:
        def __init__(self, means):
            self.means = means

        def log_probs(self, X):
            return torch.stack([self.means[row["key"]] for row in X]).log()

        def state(self):
            return {}

    rows = [{"key": "a"}, {"key": "b"}] * 5
    soft = np.tile([[0.9, 0.1], [0.2, 0.8]], (5, 1))
    student = Student(Lookup()).fit(rows, soft)
    assert student.predict_proba(rows[:2]) == pytest.approx(soft[:2])
    with pytest.raises(ConfigError, match="a Lookup is trained in one go"):
        Student(Lookup(), "logconf").fit(rows, soft)
    with pytest.raises(ConfigError, match="no arrays"):
        Student(Lookup(), {"selection": "neighbours"}).fit(rows, soft)


def test_a_saved_student_is_loaded_with_its_classes_its_recipe_and_its_probabilities(tmp_path, text_votes):
    classes = np.array([3, 7])
    votes = text_votes._replace(classes=(3, 7))
    student = Student("tiny", "evidential", training=TRAINING, random_state=0).fit(TEXTS[HARD], votes)
    assert student.save(tmp_path / "student") == tmp_path / "student"
    again = Student.load(tmp_path / "student")
    assert np.array_equal(again.classes_, classes)
    assert again.recipe == Recipe(loss="evidential")
    assert again.strong.model == "tiny"
    assert np.allclose(again.predict_proba(TEXTS), student.predict_proba(TEXTS), atol=1e-5)
    assert np.array_equal(again.predict(TEXTS), student.predict(TEXTS))
    predictor = load_student(tmp_path / "student")
    assert predictor.choices == ("3", "7")
    assert np.allclose(predictor.log_probs(TEXTS).exp(), student.predict_proba(TEXTS), atol=1e-5)
    with pytest.raises(ConfigError, match="copy that folder"):
        again.save(tmp_path / "copy")
    record = tmp_path / "student" / "estimator.json"
    record.write_text(record.read_text().replace("3", "4", 1))
    with pytest.raises(ModelError, match=r"estimator\.json"):
        Student.load(tmp_path / "student")


def test_a_run_s_student_has_texts_as_classes(tmp_path, text_votes):
    fitted = Student("tiny", training=TRAINING, random_state=0).fit(TEXTS[HARD], text_votes).fitted_
    export_student(
        tmp_path / "run",
        config=fitted.model.config,
        backbone=fitted.model.backbone,
        state=fitted.state(),
        choices=("no", "yes"),
        card="",
    )
    assert Student.load(tmp_path / "run").predict(TEXTS[:1]).tolist() in (["no"], ["yes"])


def test_only_a_pretrained_model_s_student_has_a_folder(tmp_path, arrays):
    X, _, votes = arrays
    with pytest.raises(ConfigError, match="joblib"):
        Student(LogisticRegression()).fit(X[150:], votes).save(tmp_path / "student")
    with pytest.raises(ModelError, match="not a student"):
        Student.load(tmp_path)


def test_a_pipeline_reads_texts(text_votes):
    words = make_pipeline(TfidfVectorizer(), LogisticRegression())
    student = Student(words, {"with_easy": True}).fit(TEXTS[HARD], text_votes, easy=(TEXTS[EASY], LABELS[EASY]))
    assert student.predict(["a good one", "a poor one"]).tolist() == ["pos", "neg"]


SOFT = np.full((4, 2), 0.5)
X4 = np.arange(8.0).reshape(4, 2)


@pytest.mark.parametrize(
    ("strong", "recipe", "X", "y", "easy", "error", "words"),
    [
        (LogisticRegression(), "xen", X4, SOFT, None, ValueError, "there is no 'xen'"),
        (LogisticRegression(), {"los": "xent"}, X4, SOFT, None, ValueError, "los"),
        (LogisticRegression(), "logconf", X4, SOFT, None, ConfigError, "its loss must be xent"),
        (LogisticRegression(), {"with_easy": True}, X4, SOFT, None, ValueError, "give easy"),
        (LogisticRegression(), {"selection": "top-rho"}, X4, SOFT, None, ValueError, "learned easy examples"),
        (LogisticRegression(), {"curriculum": "difficulty"}, X4, SOFT, None, ValueError, "is not given"),
        (KNeighborsClassifier(1), "xent", X4, SOFT * [1.2, 0.8], None, ConfigError, "takes no sample_weight"),
        (LogisticRegression(), "xent", X4, SOFT[:3], None, ValueError, "inconsistent numbers of samples"),
        (LogisticRegression(), "xent", X4, SOFT + 1, None, ValueError, "must be probabilities"),
        (LogisticRegression(), "xent", X4, None, None, ValueError, "requires y to be passed"),
        (LogisticRegression(), "xent", X4, SOFT, (X4, [0, 1, 2, 0]), ValueError, "the label 2 is none of the classes"),
        (LogisticRegression(), "xent", X4, SOFT, (X4, [0, 1]), ValueError, "inconsistent numbers of samples"),
        (LogisticRegression(), "xent", X4, SOFT, (X4[:, :1], [0, 1, 0, 1]), ValueError, "features"),
        (LogisticRegression(), "xent", X4, [1, 1, 1, 1], None, ValueError, "only one class"),
        ("tiny", "xent", ["a", " "], SOFT[:2], None, ValueError, r"X\[1\] is blank"),
        (3, "xent", X4, SOFT, None, TypeError, "strong: got 3"),
    ],
)
def test_bad_input_is_named(strong, recipe, X, y, easy, error, words):
    with pytest.raises(error, match=words):
        Student(strong, recipe).fit(X, y, easy=easy)


def test_votes_that_do_not_fit_together_are_refused():
    soft = torch.full((4, 2), 0.5)
    with pytest.raises(ValueError, match="do not fit"):
        Student(LogisticRegression()).fit(X4, Votes(soft[None].repeat(3, 1, 1), torch.ones(2), soft))


def test_the_record_holds_field_values(tmp_path, text_votes):
    Student("tiny", training=TRAINING, random_state=0).fit(TEXTS[HARD], text_votes).save(tmp_path / "student")
    record = json.loads((tmp_path / "student" / "estimator.json").read_text())
    assert (record["strong"]["model"], record["recipe"]["loss"], record["classes"]) == ("tiny", "xent", ["neg", "pos"])
