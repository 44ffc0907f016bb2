"""An ensemble of weak models as an estimator of scikit-learn's kind."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state, column_or_1d, get_tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data
from torch import Tensor

from ensemw2s.config import EnsembleConfig, ModelConfig, TrainConfig
from ensemw2s.core import sampling, voting
from ensemw2s.core.boosting import chance_error
from ensemw2s.core.calibration import apply_temperature
from ensemw2s.core.labels import Votes
from ensemw2s.core.seeds import stream
from ensemw2s.ensemble.fit import EnsembleState, Weak, fit_expert, grow, held_out_errors
from ensemw2s.ensemble.label import choose, expert_weights
from ensemw2s.ensemble.learner import Fitted, Learner
from ensemw2s.ensemble.methods import make_method
from ensemw2s.ensemble.sklearn_learner import SklearnLearner
from ensemw2s.estimators.text_model import TextLearner, TextModel, are_texts, checked_texts


class WeakEnsemble(ClassifierMixin, BaseEstimator):
    """Weak models that are trained on labelled examples in rounds and vote together (EnsemW2S, 2410.04571).

    Parameters
    ----------
    weak : str, ModelConfig, classifier of scikit-learn, Learner, or a list of these
        What each member is. A name or a ModelConfig is a pretrained model that reads texts, with a trained head. Of a
        list, the members are dealt to the rounds in turn.
    method : str
        A name in the table of ensemble methods: single, independent, bagging, boosting, subspace, layers, or one that
        an installed package adds.
    n_rounds : int
        Number of members that are trained.
    method_options : dict or None
        Options of the method, such as ``{"shrinkage": 0.5, "reweight": "resample"}`` for boosting.
    prior : {"chance", "unigram"} or float
        Error that a boosted member must beat: of a uniform guess, of the most frequent class, or a number.
    error_source : {"train", "folds"}
        Whether boosting follows a member's errors on its own training examples, or on held-out folds.
    n_folds : int
        Number of held-out folds.
    vote : {"soft", "hard", "log"}
        How the members' votes are combined (`core.voting`).
    select_by : {"log_loss", "accuracy"}
        By what the size of the ensemble is chosen on the validation part.
    validation_fraction : float
        Share of each class that is held out to choose the size and the temperature. Where that leaves no example, all
        members vote, uncalibrated.
    training : TrainConfig or None
        How heads of pretrained models are trained.
    random_state : int, RandomState or None
        Of the validation part, the draws and the trainings.

    Attributes
    ----------
    experts_ : list of Fitted
        The trained members, also those after the chosen size.
    expert_weights_ : ndarray of shape (n_trained,)
        Weight of each in the vote, in nats.
    expert_errors_ : ndarray of shape (n_trained,)
        Error of each under the sample weights of its round.
    n_experts_ : int
        Number of members that vote, from the first.
    temperature_ : float
        By which the vote's log-probabilities are divided.
    classes_ : ndarray of shape (n_classes,)

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from ensemw2s import WeakEnsemble
    >>> X, y = make_classification(200, random_state=0)
    >>> ensemble = WeakEnsemble(DecisionTreeClassifier(max_depth=1), n_rounds=5, random_state=0).fit(X, y)
    >>> ensemble.label(X[:3]).probabilities.shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        weak: Any,
        method: str = "boosting",
        *,
        n_rounds: int = 8,
        method_options: dict[str, Any] | None = None,
        prior: str | float | int = "chance",
        error_source: str = "train",
        n_folds: int = 5,
        vote: str = "soft",
        select_by: str = "log_loss",
        validation_fraction: float | int = 0.2,
        training: TrainConfig | None = None,
        random_state: Any = None,
    ):
        self.weak = weak
        self.method = method
        self.n_rounds = n_rounds
        self.method_options = method_options
        self.prior = prior
        self.error_source = error_source
        self.n_folds = n_folds
        self.vote = vote
        self.select_by = select_by
        self.validation_fraction = validation_fraction
        self.training = training
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> "WeakEnsemble":
        """Train the members round by round; choose how many vote, and the temperature, on the validation part.

        Parameters
        ----------
        X : sequence of texts, or array of shape (n_samples, n_features)
        y : array of shape (n_samples,)

        Raises
        ------
        ValueError
            X or y is malformed, y has one class, or a parameter is outside its range.
        ModelError
            The first boosted member is no better than the prior.
        ConfigError
            The method or the weak models are unknown, or do not fit each other.
        """
        config = self._config()
        X, y = self._checked(X, y)
        self.classes_, encoded = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y has only one class, {self.classes_[0]!r}; give examples of at least 2 classes (n_samples={len(y)})"
            )
        labels, seed = torch.from_numpy(encoded.astype(np.int64)), self._seed()
        held_out = sampling.stratified_holdout(labels, float(self.validation_fraction), stream(seed, "validation"))
        rows = (~held_out).nonzero()[:, 0]
        learners = tuple(as_learner(each, self.training or TrainConfig()) for each in _pool(self.weak))
        weak = Weak(
            learners=learners,
            X=X,
            rows=rows,
            labels=labels[rows],
            group_ids=[str(row) for row in rows.tolist()],
            n_classes=len(self.classes_),
            n_layers=min(each.model.n_layers if isinstance(each, TextLearner) else 0 for each in learners),
        )
        for learner in learners:
            if isinstance(learner, TextLearner):
                learner.model.open(X)  # all texts in one pass of the frozen model
        self._fit_rounds(weak, config, seed, held_out.nonzero()[:, 0], labels)
        return self

    def _fit_rounds(self, weak: Weak, config: EnsembleConfig, seed: int, val: Tensor, labels: Tensor) -> None:
        method, prior = make_method(self.method, config), self._prior_error(weak)
        state, experts = EnsembleState.start(self.method, seed, len(weak.rows)), list[Fitted]()
        while not state.finished:
            fitted = fit_expert(weak, state, config)
            if config.error_source == "folds" and method.needs_errors:
                is_wrong, _ = held_out_errors(weak, state, config)
                fitted = replace(fitted, is_wrong=is_wrong)
            state = grow(state, fitted, config, prior)
            if len(state.experts) > len(experts) and fitted.model is not None:
                experts.append(fitted.model)
        self.experts_ = experts
        self.expert_weights_ = expert_weights(state.experts, config).numpy()
        self.expert_errors_ = np.array([expert.weighted_error for expert in state.experts])
        self.n_experts_, self.temperature_ = len(experts), 1.0
        if len(val):
            chosen = choose(state.experts, config, val, labels[val], seed=seed, prior_error=prior)
            self.n_experts_, self.temperature_ = chosen.selected, chosen.temperature

    def label(self, X: Any) -> Votes:
        """What the voting members say: the combined distribution, each member's own, agreement and confidence."""
        members = self._members(X)
        combined = self._combined(members, self.n_experts_)
        weights = torch.from_numpy(self.expert_weights_[: self.n_experts_])
        return Votes(members.exp(), weights, combined.exp(), tuple(self.classes_.tolist()))

    def predict_proba(self, X: Any) -> np.ndarray:
        """The calibrated distribution over `classes_`, of shape (n_samples, n_classes)."""
        return _probabilities(self._combined(self._members(X), self.n_experts_))

    def staged_predict_proba(self, X: Any) -> Iterator[np.ndarray]:
        """The distribution of the first t trained members for every t, all with the same temperature."""
        members = self._members(X, all_trained=True)
        weights = torch.from_numpy(self.expert_weights_)
        for stage in voting.staged(members, weights, vote=self.vote):  # pyright: ignore[reportArgumentType]
            yield _probabilities(apply_temperature(stage, self.temperature_))

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class of each row."""
        columns = self.predict_proba(X).argmax(1)
        return self.classes_[columns]

    def _members(self, X: Any, *, all_trained: bool = False) -> Float[Tensor, "experts rows classes"]:
        check_is_fitted(self)
        X = self._checked(X)[0]
        experts = self.experts_ if all_trained else self.experts_[: self.n_experts_]
        return torch.stack([expert.log_probs(X) for expert in experts])

    def _combined(self, members: Tensor, n_experts: int) -> Float[Tensor, "rows classes"]:
        weights = torch.from_numpy(self.expert_weights_[:n_experts])
        combined = voting.combine(members, weights, vote=self.vote)  # pyright: ignore[reportArgumentType]
        return apply_temperature(combined, self.temperature_)

    def _config(self) -> EnsembleConfig:
        if not 0 <= self.validation_fraction < 1:
            raise ValueError(f"validation_fraction must lie in [0, 1), got {self.validation_fraction!r}")
        if self.prior == "pretrained":
            raise ValueError("prior: got 'pretrained', which needs named classes; give 'chance', 'unigram' or a number")
        return EnsembleConfig.model_validate(
            {
                "methods": (self.method,),
                "n_rounds": self.n_rounds,
                "method_options": {self.method: self.method_options or {}},
                "prior": self.prior,
                "error_source": self.error_source,
                "n_folds": self.n_folds,
                "vote": self.vote,
                "select_by": self.select_by,
            }
        )

    def _seed(self) -> int:
        if isinstance(self.random_state, Integral):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _prior_error(self, weak: Weak) -> float:
        if self.prior == "chance":
            return chance_error(weak.n_classes)
        if self.prior == "unigram":
            return 1.0 - float(torch.bincount(weak.labels).max()) / len(weak.labels)
        return float(self.prior)

    def _checked(self, X: Any, y: Any = None) -> tuple[Any, Any]:
        """Valid X, and y where it is given; the first call decides the form that later ones must have."""
        is_fit = y is not None or not hasattr(self, "classes_")
        if _reads_texts(self.weak) or are_texts(X):
            X = checked_texts(X)
        elif _is_own(self.weak) and not hasattr(X, "shape"):
            X = list(X)
        else:
            return self._checked_array(X, y, is_fit)
        if not is_fit:
            return X, None
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None")
        y = column_or_1d(y, warn=True)
        check_consistent_length(X, y)
        check_classification_targets(y)
        return X, y

    def _checked_array(self, X: Any, y: Any, is_fit: bool) -> tuple[Any, Any]:
        tags = self.__sklearn_tags__().input_tags
        settings: dict[str, Any] = {
            "accept_sparse": ["csr"] if tags.sparse else False,
            "ensure_all_finite": "allow-nan" if tags.allow_nan else True,
        }
        if not is_fit:
            return validate_data(self, X, reset=False, **settings), None
        X, y = validate_data(self, X, y, **settings)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        return X, y

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        if _reads_texts(self.weak):
            tags.input_tags.string, tags.input_tags.two_d_array = True, False
            tags.no_validation = True
            return tags
        theirs = [get_tags(each).input_tags for each in _pool(self.weak) if hasattr(each, "__sklearn_tags__")]
        tags.input_tags.sparse = bool(theirs) and all(each.sparse for each in theirs)
        tags.input_tags.allow_nan = bool(theirs) and all(each.allow_nan for each in theirs)
        return tags


def as_learner(weak: Any, training: TrainConfig) -> Learner:
    """A model's name or configuration, a classifier of scikit-learn or a learner, as a learner.

    Raises:
        TypeError: it is none of these.
        ModelError: the model cannot be loaded.
    """
    if isinstance(weak, str | ModelConfig):
        config = ModelConfig(model=weak) if isinstance(weak, str) else weak
        return TextLearner(TextModel(config), training)
    if hasattr(weak, "get_params") and hasattr(weak, "predict"):
        return SklearnLearner(weak)
    if isinstance(weak, Learner):
        return weak
    raise TypeError(
        f"weak: got {weak!r}; give a model's name, a ModelConfig, a classifier of scikit-learn, a Learner, or a list "
        "of these"
    )


def _pool(weak: Any) -> Sequence[Any]:
    if isinstance(weak, list | tuple):
        if not weak:
            raise ValueError("weak: the list is empty; give at least one weak model")
        return weak
    return [weak]


def _reads_texts(weak: Any) -> bool:
    return any(isinstance(each, str | ModelConfig) for each in _pool(weak))


def _is_own(weak: Any) -> bool:
    """Whether all are learners of the user's own, which read rows of any form."""
    return not any(isinstance(each, str | ModelConfig) or hasattr(each, "get_params") for each in _pool(weak))


def _probabilities(log_probs: Tensor) -> np.ndarray:
    probabilities = log_probs.double().exp().numpy()
    return probabilities / probabilities.sum(1, keepdims=True)
