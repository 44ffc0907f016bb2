"""What the estimators share: rows of any form are checked, random states become seeds, and models become learners."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils import assert_all_finite, check_random_state, column_or_1d, get_tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, validate_data
from torch import Tensor

from ensemw2s.config import ModelConfig, TrainConfig
from ensemw2s.ensemble.learners.base import Learner
from ensemw2s.ensemble.learners.sklearn import SklearnLearner
from ensemw2s.ensemble.learners.tfidf import MAX_STEPS, tfidf_vectorizer
from ensemw2s.errors import ConfigError
from ensemw2s.estimators.text_model import TextLearner, TextModel, are_texts, checked_texts
from ensemw2s.names import TFIDF
from ensemw2s.prompting import pooled_by_prompts


class Classifier(ClassifierMixin, BaseEstimator):
    """A classifier of rows of any form that its models read.

    A subclass has a parameter `random_state` and says in `_models` what reads the rows.
    """

    random_state: Any

    def _models(self) -> Sequence[Any]:
        """Names and configurations of pretrained models, classifiers of scikit-learn, or learners."""
        raise NotImplementedError

    def _seed(self) -> int:
        if isinstance(self.random_state, Integral):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _checked_rows(self, X: Any, *, is_fit: bool) -> Any:
        """Valid rows: a list of texts, an array, or a list of what the user's own learners read.

        Raises:
            ValueError: they are malformed, or of another form than those of the call that fitted.
        """
        models = self._models()
        if _read_texts(models) or are_texts(X):
            return checked_texts(X)
        if _are_own(models) and not hasattr(X, "shape"):
            return list(X)
        tags = self.__sklearn_tags__().input_tags
        settings: dict[str, Any] = {
            "accept_sparse": ["csr"] if tags.sparse else False,
            "ensure_all_finite": "allow-nan" if tags.allow_nan else True,
        }
        return validate_data(self, X, reset=is_fit, **settings)

    def _checked(self, X: Any, y: Any) -> tuple[Any, np.ndarray]:
        """Valid rows and labels to fit on. Raises ValueError."""
        X, y = self._checked_rows(X, is_fit=True), checked_labels(y)
        check_consistent_length(X, y)
        return X, y

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        models = self._models()
        if _read_texts(models):
            tags.input_tags.string, tags.input_tags.two_d_array = True, False
            tags.no_validation = True
            return tags
        theirs = [get_tags(each).input_tags for each in models if hasattr(each, "__sklearn_tags__")]
        tags.input_tags.sparse = bool(theirs) and all(each.sparse for each in theirs)
        tags.input_tags.allow_nan = bool(theirs) and all(each.allow_nan for each in theirs)
        return tags


def as_learner(model: Any, training: TrainConfig | None, X: Any, *, parameter: str) -> Learner:
    """A model's name or configuration, a classifier of scikit-learn or a learner, as a learner.

    Args:
        training: of a pretrained model; None is `TrainConfig()`.
        X: valid rows that it will learn from; how a pretrained model reads texts depends on whether they end in a cue.
        parameter: name of the estimator's parameter that the model was given as.

    Raises:
        TypeError: it is none of these.
        ConfigError: it would start from a run's experts.
        ModelError: the model cannot be loaded.
    """
    if model == TFIDF or (isinstance(model, ModelConfig) and model.is_tfidf):
        return SklearnLearner(make_pipeline(tfidf_vectorizer(), LogisticRegression(C=10.0, max_iter=MAX_STEPS)))
    if isinstance(model, str | ModelConfig):
        config = ModelConfig(model=model) if isinstance(model, str) else model
        if config.lora_start == "weak":
            raise ConfigError(
                f"{parameter}.lora_start: weak begins with a run's experts, and an estimator has none; set zero"
            )
        return TextLearner(TextModel(pooled_by_prompts(config, X)), training or TrainConfig())
    if hasattr(model, "get_params") and hasattr(model, "predict"):
        return SklearnLearner(model)
    if isinstance(model, Learner):
        return model
    raise TypeError(
        f"{parameter}: got {model!r}; give a model's name, a ModelConfig, a classifier of scikit-learn or a Learner"
    )


def checked_labels(y: Any) -> np.ndarray:
    """One label for each row. Raises ValueError where they are missing, numbers on a scale, or in columns."""
    if y is None:
        raise ValueError("requires y to be passed, but the target y is None")
    y = column_or_1d(y, warn=True)
    assert_all_finite(y, input_name="y")
    check_classification_targets(y)
    return y


def several_classes(labels: Sequence[Any] | np.ndarray) -> np.ndarray:
    """The distinct labels, sorted. Raises ValueError where there is one alone."""
    classes = np.unique(labels)
    if len(classes) < 2:
        raise ValueError(
            f"y has only one class, {classes[0]!r}; give examples of at least 2 classes (n_samples={len(labels)})"
        )
    return classes


def probabilities(log_probs: Tensor) -> np.ndarray:
    """Rows that sum to 1, in float64."""
    values = log_probs.double().exp().numpy()
    return values / values.sum(1, keepdims=True)


def _read_texts(models: Sequence[Any]) -> bool:
    return any(isinstance(each, str | ModelConfig | TextLearner) for each in models)


def _are_own(models: Sequence[Any]) -> bool:
    """Whether all are learners of the user's own, which read rows of any form."""
    return not any(isinstance(each, str | ModelConfig) or hasattr(each, "get_params") for each in models)
