"""An ensemble of weak models as an estimator of scikit-learn's kind."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from ensemw2s.config import EnsembleConfig, TrainConfig
from ensemw2s.core import sampling, voting
from ensemw2s.core.boosting import chance_error
from ensemw2s.core.calibration import apply_temperature
from ensemw2s.core.labels import Votes
from ensemw2s.core.metrics import accuracy
from ensemw2s.core.seeds import stream
from ensemw2s.ensemble.fit import EnsembleState, FittedExpert, Weak, grow
from ensemw2s.ensemble.label import choose, expert_weights
from ensemw2s.ensemble.learners.base import Fitted
from ensemw2s.ensemble.pool import PlainMember, next_expert
from ensemw2s.estimators.base import Classifier, as_learner, probabilities, several_classes
from ensemw2s.estimators.text_model import TextLearner


class WeakEnsemble(Classifier):
    """Weak models that are trained on labelled examples in rounds and vote together (EnsemW2S, 2410.04571).

    Parameters
    ----------
    weak : str, ModelConfig, classifier of scikit-learn, Learner, or a list of these
        What each member is. A name or a ModelConfig is a pretrained model that reads texts, with a trained head;
        "tf-idf" is logistic regression on words. A list is a pool: boosting takes in each round the one of least
        weighted error on held-out folds, which its weights then follow whatever `error_source` says; `single` takes the
        one that is best on the validation part (the first, where there is none); others are dealt to the rounds in
        turn.
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
    select_by : {"log_loss", "accuracy"} or int
        By what the size of the ensemble is chosen on the validation part; a number is the size.
    validation_fraction : float
        Share of each class that is held out to choose the size and the temperature. Where that leaves no example, all
        members vote, uncalibrated.
    training : TrainConfig or None
        How pretrained models are trained; None is `TrainConfig()`: linear heads are fitted to the optimum of their
        loss, the penalty chosen on held-out folds, and others take steps until a fifth of the examples, held out, no
        longer improve.
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
    members_ : ndarray of shape (n_trained,)
        Place in the pool of each.
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
        select_by: str | int = "log_loss",
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
        self.classes_ = several_classes(y)
        labels, seed = torch.from_numpy(np.searchsorted(self.classes_, y)), self._seed()
        held_out = sampling.stratified_holdout(labels, float(self.validation_fraction), stream(seed, "validation"))
        rows = (~held_out).nonzero()[:, 0]
        learners = [as_learner(each, self.training, X, parameter="weak") for each in _pool(self.weak)]
        pool = [
            Weak(
                learner=learner,
                X=X,
                rows=rows,
                labels=labels[rows],
                group_ids=[str(row) for row in rows.tolist()],
                n_classes=len(self.classes_),
                n_layers=learner.model.n_layers if isinstance(learner, TextLearner) else 0,
            )
            for learner in learners
        ]
        for learner in learners:
            if isinstance(learner, TextLearner):
                learner.model.open(X)  # all texts in one pass of the frozen model
        self._fit_rounds(pool, config, seed, held_out.nonzero()[:, 0], labels)
        return self

    def _fit_rounds(self, pool: Sequence[Weak], config: EnsembleConfig, seed: int, val: Tensor, labels: Tensor) -> None:
        prior, members = self._prior_error(pool[0]), [PlainMember(weak, config) for weak in pool]
        state, experts = EnsembleState.start(self.method, seed, len(pool[0].rows)), list[Fitted]()

        def on_validation(_: int, fitted: FittedExpert) -> float:
            return accuracy(fitted.log_probs[val], labels[val]) if len(val) else 0.0

        while not state.finished:
            fitted = next_expert(members, state, config, on_validation)
            state = grow(state, fitted, config, prior)
            if len(state.experts) > len(experts) and fitted.model is not None:
                experts.append(fitted.model)
        self.experts_ = experts
        self.expert_weights_ = expert_weights(state.experts, config).numpy()
        self.members_ = np.array([expert.member for expert in state.experts])
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
        return probabilities(self._combined(self._members(X), self.n_experts_))

    def staged_predict_proba(self, X: Any) -> Iterator[np.ndarray]:
        """The distribution of the first t trained members for every t, all with the same temperature."""
        members = self._members(X, all_trained=True)
        weights = torch.from_numpy(self.expert_weights_)
        for stage in voting.staged(members, weights, vote=self.vote):  # pyright: ignore[reportArgumentType]
            yield probabilities(apply_temperature(stage, self.temperature_))

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class of each row."""
        columns = self.predict_proba(X).argmax(1)
        return self.classes_[columns]

    def _members(self, X: Any, *, all_trained: bool = False) -> Float[Tensor, "experts rows classes"]:
        check_is_fitted(self)
        X = self._checked_rows(X, is_fit=False)
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
        if self.vote == "gated":
            raise ValueError("vote: got 'gated', which is for runs; give 'soft', 'hard' or 'log'")
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

    def _prior_error(self, weak: Weak) -> float:
        if self.prior == "chance":
            return chance_error(weak.n_classes)
        if self.prior == "unigram":
            return 1.0 - float(torch.bincount(weak.labels).max()) / len(weak.labels)
        return float(self.prior)

    def _models(self) -> Sequence[Any]:
        return _pool(self.weak)


def _pool(weak: Any) -> Sequence[Any]:
    if isinstance(weak, list | tuple):
        if not weak:
            raise ValueError("weak: the list is empty; give at least one weak model")
        return weak
    return [weak]
