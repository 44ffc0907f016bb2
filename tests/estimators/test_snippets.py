"""The snippets of the Python API, as README shows them, run to the letter with tiny models behind their names."""

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import make_classification

from ensemw2s import EnsemW2SClassifier, Student, WeakEnsemble
from ensemw2s.estimators import text_model

ROOT = Path(__file__).parents[2]


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S)


TEXTS = [f"{word} {i}" for i in range(30) for word in ("good fine nice", "bad poor awful")]
LABELS = ["pos", "neg"] * 30


@pytest.fixture(autouse=True)
def tiny_models(monkeypatch, tmp_path):
    """Every model's name stands for the tiny one; files are written to a folder of the test."""
    load = text_model.load_backbone
    monkeypatch.setattr(text_model, "load_backbone", lambda config: load(config.model_copy(update={"model": "tiny"})))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def names():
    """What a snippet may take as given."""
    X, y = make_classification(400, n_informative=6, flip_y=0.05, random_state=0)
    y[100:] = -1
    return {
        "texts": TEXTS[:30],
        "labels": LABELS[:30],
        "unlabelled": TEXTS[30:],
        "new": ["a good one", "a poor one"],
        "X": X,
        "y": y,
        "X_new": X[:5],
    }


def test_readme_s_block_goes_from_texts_to_a_saved_student(names):
    [block] = blocks("README.md")
    exec(block, names)
    assert len(block.splitlines()) <= 10
    assert re.findall(r"^(?:from|import) .*", block, re.M) == ["from ensemw2s import Student, WeakEnsemble"]
    votes = names["votes"]
    assert votes.probabilities.shape == (30, 2)
    assert votes.member_probabilities.shape[1:] == (30, 2)
    assert votes.agreement.shape == votes.confidence.shape == (30,)
    assert np.allclose(Student.load("student").predict_proba(TEXTS), names["student"].predict_proba(TEXTS), atol=1e-5)


def test_the_quickstart_s_blocks_run_one_after_the_other(names, capsys):
    for block in blocks("docs/quickstart.md"):
        exec(block, names)
        assert "model" not in names or names["model"].chosen_ in capsys.readouterr().out
    assert set(names["model"].predict(names["X_new"])) <= {0, 1}
    assert names["model"].chosen_ in names["model"].scores_


def test_an_ensemble_labels_and_a_student_learns():
    ensemble = WeakEnsemble("smollm2-135m", method="boosting", n_rounds=5, random_state=0).fit(TEXTS[:30], LABELS[:30])
    votes = ensemble.label(TEXTS[30:])
    student = Student("Qwen/Qwen2.5-0.5B", recipe="xent").fit(TEXTS[30:], votes, easy=(TEXTS[:30], LABELS[:30]))
    assert student.predict(["good", "bad"]).shape == (2,)
    assert student.predict_proba(["good", "bad"]).shape == (2, 2)
    student.save("student")
    assert Student.load("student").classes_.tolist() == ["neg", "pos"]


def test_one_classifier_does_both():
    y = [*LABELS[:30], *[None] * 30]
    model = EnsemW2SClassifier(weak="smollm2-135m", strong="Qwen/Qwen2.5-0.5B", recipe="auto").fit(TEXTS, y)
    assert model.classes_.tolist() == ["neg", "pos"]


def test_a_learner_of_one_s_own_makes_an_ensemble_and_a_student():
    class Prior:
        """Predicts the weighted share of each class."""

        def fit(self, X, target, sample_weight, *, seed):
            self_share = (target * sample_weight[:, None]).sum(0) / sample_weight.sum()
            return PriorFitted(self_share)

    class PriorFitted:
        def __init__(self, share):
            self.share = share

        def log_probs(self, X):
            return self.share.log().expand(len(X), -1)

        def state(self):
            return {"share": self.share}

    rows, y = [{"n": i} for i in range(20)], [0] * 12 + [1] * 8
    votes = WeakEnsemble(Prior(), "bagging", n_rounds=2, random_state=0).fit(rows, y).label(rows)
    assert Student(Prior()).fit(rows, votes).predict(rows[:2]).tolist() == [0, 0]
