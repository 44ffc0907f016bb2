"""Weak-to-strong training in one estimator: some rows are labelled, the others marked as unlabelled."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_consistent_length, check_is_fitted
from torch import Tensor

from ensemw2s.config import Recipe, TrainConfig
from ensemw2s.core import sampling
from ensemw2s.core.labels import Votes
from ensemw2s.core.metrics import log_loss
from ensemw2s.core.seeds import stream
from ensemw2s.ensemble.learners.base import Learner, take
from ensemw2s.ensemble.learners.sklearn import SklearnLearner, weight_argument
from ensemw2s.estimators.base import Classifier, as_learner, checked_labels, several_classes
from ensemw2s.estimators.student import Student, as_recipe
from ensemw2s.estimators.text_model import TextLearner
from ensemw2s.estimators.weak_ensemble import WeakEnsemble

BASELINE = "strong on labelled"
"""Name of the candidate that learns the labelled rows alone."""
AUTO = (
    Recipe(with_easy=True),
    Recipe(selection="confidence", with_easy=True),
    Recipe(),
)
"""Recipes that `recipe="auto"` tries."""


class EnsemW2SClassifier(Classifier):
    """Weak models learn the labelled rows and label the others; a strong model learns those labels.

    With `recipe="auto"`, students of several recipes compete with the strong model trained on the labelled rows
    alone. The one that finds held-out labels likeliest is kept, so by that measure it is never worse than training
    without weak supervision.

    Parameters
    ----------
    weak : str, ModelConfig, classifier of scikit-learn, Learner, or a list of these
        As for `WeakEnsemble`.
    strong : str, ModelConfig, classifier of scikit-learn, or Learner
        As for `Student`.
    method : str
        How the weak models become an ensemble, as for `WeakEnsemble`.
    n_rounds : int
        Number of weak models that are trained.
    recipe : "auto", str, Recipe or mapping
        How the student is trained, as for `Student`.
    validation_fraction : float
        `recipe="auto"`: share of each class of the labelled rows that is held out to compare the candidates.
    weak_training, strong_training : TrainConfig or None
        How pretrained models are trained; None as in `WeakEnsemble` and `Student`.
    random_state : int, RandomState or None
        Of the draws and the trainings.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    ensemble_ : WeakEnsemble or None
        The trained weak models; None where every row was labelled.
    student_ : Student
        The trained strong model.
    chosen_ : str
        Name of the student's recipe, or `strong on labelled`.
    scores_ : dict
        `recipe="auto"`: mean log-likelihood of the held-out labels under each candidate, in nats.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from ensemw2s import EnsemW2SClassifier
    >>> X, y = make_classification(300, random_state=0)
    >>> y[100:] = -1  # unlabelled
    >>> EnsemW2SClassifier(DecisionTreeClassifier(max_depth=1), LogisticRegression(), random_state=0).fit(X, y).classes_
    array([0, 1])
    """

    def __init__(
        self,
        weak: Any,
        strong: Any,
        *,
        method: str = "boosting",
        n_rounds: int = 8,
        recipe: str | Recipe | Mapping[str, Any] = "auto",
        validation_fraction: float = 0.2,
        weak_training: TrainConfig | None = None,
        strong_training: TrainConfig | None = None,
        random_state: Any = None,
    ):
        self.weak = weak
        self.strong = strong
        self.method = method
        self.n_rounds = n_rounds
        self.recipe = recipe
        self.validation_fraction = validation_fraction
        self.weak_training = weak_training
        self.strong_training = strong_training
        self.random_state = random_state

    def _models(self) -> list[Any]:
        weak = self.weak if isinstance(self.weak, list | tuple) else [self.weak]
        return [*weak, self.strong]

    def fit(self, X: Any, y: Any) -> "EnsemW2SClassifier":
        """Train the ensemble on the labelled rows and the student on what it says of the others.

        Parameters
        ----------
        X : sequence of texts, or array of shape (n_samples, n_features)
        y : array of shape (n_samples,)
            Labels; -1 (of numbers) or None marks an unlabelled row. Where no row is unlabelled, the strong model
            learns all of them and no ensemble is trained.

        Raises
        ------
        ValueError
            X or y is malformed, the labels are of one class, or a parameter is outside its range.
        ModelError
            The first boosted weak model is no better than chance.
        """
        seed = self._seed()
        X, labels, is_labelled = self._labelled_rows(X, y)
        self.classes_ = several_classes(labels)
        learner = as_learner(self.strong, self.strong_training, X, parameter="strong")
        if isinstance(learner, TextLearner):
            learner.model.open(X)  # all texts in one pass of the frozen model
        known, unknown = (torch.from_numpy(np.flatnonzero(mask)) for mask in (is_labelled, ~is_labelled))
        self.scores_, self.ensemble_ = dict[str, float](), None
        if not len(unknown):
            self.chosen_, self.student_ = BASELINE, self._student(learner, "xent", seed).fit(X, labels)
        elif self.recipe == "auto":
            self._fit_best(learner, X, labels, known, unknown, seed)
        else:
            easy = take(X, known), labels
            self._fit_ensemble(*easy, seed)
            hard = take(X, unknown)
            self.student_ = self._student(learner, self.recipe, seed).fit(hard, self._votes(hard), easy=easy)
            self.chosen_ = as_recipe(self.recipe).name
        self.student_.set_params(strong=self.strong, random_state=self.random_state)
        return self

    def _fit_best(
        self, learner: Learner, X: Any, labels: np.ndarray, known: Tensor, unknown: Tensor, seed: int
    ) -> None:
        """Train every candidate, and keep the one under which the held-out labels are likeliest."""
        indices = torch.from_numpy(np.searchsorted(self.classes_, labels))
        held_out = sampling.stratified_holdout(indices, float(self.validation_fraction), stream(seed, "comparison"))
        if not bool(held_out.any()):
            raise ValueError(
                f"recipe: 'auto' compares students on held-out labelled rows, and a share of "
                f"{self.validation_fraction} of {len(labels)} holds out none; label more rows, raise "
                "validation_fraction, or choose a recipe"
            )
        easy = take(X, known[~held_out]), labels[(~held_out).numpy()]
        val, hard = take(X, known[held_out]), take(X, unknown)
        self._fit_ensemble(*easy, seed)
        votes = self._votes(hard)
        students = {BASELINE: self._student(learner, "xent", seed).fit(*easy)}
        for recipe in _candidates(learner):
            students[recipe.name] = self._student(learner, recipe, seed).fit(hard, votes, easy=easy)
        for name, student in students.items():
            self.scores_[name] = -log_loss(student.fitted_.log_probs(val), indices[held_out])
        self.chosen_ = max(self.scores_, key=self.scores_.__getitem__)
        self.student_ = students[self.chosen_]

    def _fit_ensemble(self, X: Any, labels: np.ndarray, seed: int) -> None:
        self.ensemble_ = WeakEnsemble(
            self.weak, self.method, n_rounds=self.n_rounds, training=self.weak_training, random_state=seed
        ).fit(X, labels)

    def _votes(self, X: Any) -> Votes:
        assert self.ensemble_ is not None
        return self.ensemble_.label(X)

    def _student(self, learner: Learner, recipe: Any, seed: int) -> Student:
        strong = learner if isinstance(learner, TextLearner) else self.strong
        return Student(strong, recipe, training=self.strong_training, random_state=seed)

    def _labelled_rows(self, X: Any, y: Any) -> tuple[Any, np.ndarray, np.ndarray]:
        """Valid rows, the labels of the labelled ones, and which these are. Raises ValueError."""
        X = self._checked_rows(X, is_fit=True)
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None")
        y = column_or_1d(y, warn=True)
        check_consistent_length(X, y)
        is_labelled = np.array([not _is_mark(label) for label in y.tolist()])
        if not is_labelled.any():
            raise ValueError("y: every row is unlabelled (-1 or None); give labels for some")
        labels = y if is_labelled.all() else np.array(y[is_labelled].tolist())
        return X, checked_labels(labels), is_labelled

    def predict_proba(self, X: Any) -> np.ndarray:
        """The student's distribution over `classes_`, of shape (n_samples, n_classes)."""
        check_is_fitted(self)
        return self.student_.predict_proba(self._checked_rows(X, is_fit=False))

    def predict(self, X: Any) -> np.ndarray:
        """The class that the student finds likeliest, for each row."""
        columns = self.predict_proba(X).argmax(1)
        return self.classes_[columns]


def _candidates(learner: Learner) -> list[Recipe]:
    """Recipes that are tried; with hard labels where the learner cannot weigh a row's classes."""
    if isinstance(learner, SklearnLearner) and weight_argument(learner.estimator) is None:
        return [recipe.model_copy(update={"labels": "hard"}) for recipe in AUTO]
    return list(AUTO)


def _is_mark(label: Any) -> bool:
    """Whether it marks an unlabelled row."""
    return label is None or (isinstance(label, int | float) and not isinstance(label, bool) and label == -1)
