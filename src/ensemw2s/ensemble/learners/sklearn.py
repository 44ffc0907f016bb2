"""Any classifier of scikit-learn as a learner."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter
from torch import Tensor

from ensemw2s.core import sampling
from ensemw2s.core.seeds import stream
from ensemw2s.ensemble.learners.base import take
from ensemw2s.errors import ConfigError
from ensemw2s.records import View

FLOOR = 1e-12
"""Probability of a class that the classifier excludes: its logarithm must stay finite."""
MAX_SEED = 2**32 - 1
"""NumPy takes no larger one."""


@dataclass(frozen=True)
class SklearnFitted:
    """A fitted classifier, or a constant where its draw held one class alone."""

    estimator: Any
    """Of scikit-learn; None for a constant."""
    classes: tuple[int, ...]
    """Which of the target's classes each column of the estimator is."""
    n_classes: int
    columns: Bool[Tensor, " features"] | None = None
    """Features that it reads; None is all."""

    def log_probs(self, X: Any) -> Float[Tensor, "rows classes"]:
        """Log-probabilities; a classifier without `predict_proba` is certain of what it predicts."""
        X = _columns_of(X, self.columns)
        probabilities = np.zeros((X.shape[0] if hasattr(X, "shape") else len(X), self.n_classes))
        if self.estimator is None:
            probabilities[:, self.classes[0]] = 1.0
        elif hasattr(self.estimator, "predict_proba"):
            probabilities[:, list(self.classes)] = self.estimator.predict_proba(X)
        else:
            probabilities[np.arange(len(probabilities)), self.estimator.predict(X)] = 1.0
        return torch.from_numpy(probabilities).clamp_min(FLOOR).log().log_softmax(-1).float()

    def state(self) -> dict[str, Tensor]:
        """Nothing: an estimator of scikit-learn is not made of tensors."""
        return {}


@dataclass(frozen=True)
class SklearnLearner:
    """Fits clones of a classifier; every `random_state` in it is set from the seed.

    A row whose target is not one class counts once for each of its classes, weighted by their probabilities.
    """

    estimator: Any
    columns: Bool[Tensor, " features"] | None = None

    def adapted(self, X: Any, view: View, seed: int) -> "SklearnLearner":
        if view.depth is not None:
            raise ConfigError(
                "method: its members read a model at different depths, and an estimator of scikit-learn has none; "
                "choose another method"
            )
        if view.context is not None:
            raise ConfigError(
                "method: its members read a text before each question, and an estimator of scikit-learn reads its "
                "rows alone; choose another method"
            )
        if view.feature_share == 1:
            return self
        if not hasattr(X, "shape"):
            raise ConfigError(
                "method: its members read a share of the features, and texts have none; choose another method"
            )
        return SklearnLearner(
            self.estimator, sampling.subspace(X.shape[1], view.feature_share, stream(seed, "features"))
        )

    def fit(
        self,
        X: Any,
        target: Float[Tensor, "rows classes"],
        sample_weight: Float[Tensor, " rows"],
        *,
        seed: int,
    ) -> SklearnFitted:
        """As `Learner.fit`.

        Raises:
            ConfigError: the weights differ, and the estimator's `fit` takes no `sample_weight`.
        """
        rows, labels = target.nonzero(as_tuple=True)
        weights = sample_weight[rows] * target[rows, labels]
        classes = tuple(labels.unique().tolist())
        n_classes = target.shape[1]
        if len(classes) == 1:
            return SklearnFitted(None, classes, n_classes, self.columns)
        estimator = _seeded(clone(self.estimator), seed)
        name, given = weight_argument(estimator), {}
        if name is not None:
            given = {name: weights.double().numpy()}
        elif not bool((weights == weights[0]).all()):
            raise ConfigError(
                f"fit of {type(estimator).__name__} takes no sample_weight, which weighted rows and soft labels need; "
                "choose another classifier, for a student a recipe with labels: hard, for an ensemble method='bagging' "
                "or, boosting, method_options={'reweight': 'resample'}"
            )
        estimator.fit(_columns_of(take(X, rows), self.columns), labels.numpy(), **given)
        columns = tuple(int(c) for c in estimator.classes_)
        return SklearnFitted(estimator, columns, n_classes, self.columns)


def _columns_of(X: Any, columns: Tensor | None) -> Any:
    return X if columns is None else X[:, columns.numpy()]


def _seeded(estimator: Any, seed: int) -> Any:
    """The estimator with every `random_state` of it and of its parts set."""
    names = [n for n in estimator.get_params() if n == "random_state" or n.endswith("__random_state")]
    return estimator.set_params(**dict.fromkeys(names, seed % MAX_SEED))


def weight_argument(estimator: Any) -> str | None:
    """By which name `fit` takes sample weights: those of a pipeline are its last step's."""
    if isinstance(estimator, Pipeline):
        inner = weight_argument(estimator.steps[-1][1])
        return None if inner is None else f"{estimator.steps[-1][0]}__{inner}"
    return "sample_weight" if has_fit_parameter(estimator, "sample_weight") else None
