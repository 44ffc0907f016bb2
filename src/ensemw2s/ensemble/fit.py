"""Rounds of experts, over any learner. What differs between ensemble methods is in `methods`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ensemw2s.config import EnsembleConfig, GenerationConfig
from ensemw2s.core import sampling
from ensemw2s.core.seeds import stream, stream_seed
from ensemw2s.ensemble.learners.base import Fitted, Learner, TextLearning, adapted, end_of, take
from ensemw2s.ensemble.methods import Draw, Samples, expert_stream, make_method
from ensemw2s.errors import ConfigError, ModelError
from ensemw2s.records import WHOLE, Considered, Expert, View
from ensemw2s.training_end import TrainingEnd


@dataclass(frozen=True)
class Spent:
    """What trainings read."""

    tokens: int = 0
    """In training."""
    validations: int = 0
    """Passes over the validation data."""

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Spent":
        """What an artifact's record says; before `patience` no training read validation data."""
        return cls(record["training_tokens"], record.get("validations", 0))

    @property
    def record(self) -> dict[str, Any]:
        """For an artifact's record."""
        return {"training_tokens": self.tokens, "validations": self.validations}

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.tokens + other.tokens, self.validations + other.validations)


@dataclass(frozen=True)
class Weak:
    """What all experts of one weak model and seed share: the labelled rows, and how an expert is trained."""

    learner: Learner
    X: Any
    """All examples of the run, in the form that the learner reads."""
    rows: Int[Tensor, " train"]
    labels: Int[Tensor, " train"]
    group_ids: Sequence[str]
    """Of the training rows, so that held-out folds do not tear a group."""
    n_classes: int
    n_layers: int = 0
    """Of the weak model; 0 where it has none."""
    untrained: Learner | None = None
    """How an expert of a method that trains nothing is made; None where no such method has a part."""


@dataclass(frozen=True)
class FittedExpert:
    """A trained expert before it is weighed: what the store keeps."""

    state: dict[str, Tensor]
    log_probs: Float[Tensor, "examples classes"]
    is_wrong: Bool[Tensor, " train"]
    spent: Spent
    view: View = WHOLE
    end: TrainingEnd | None = None
    model: Fitted | None = None
    """The classifier itself; None where the expert comes from the store."""
    member: int = 0
    """As in `Expert`."""
    considered: tuple[Considered, ...] = ()
    """As in `Expert`."""

    @property
    def record(self) -> dict[str, Any]:
        """For an artifact's record."""
        return self.spent.record | ({} if self.end is None else self.end.record)


@dataclass(frozen=True)
class EnsembleState:
    """The experts so far, and the sample weights of the next one."""

    method: str
    seed: int
    experts: tuple[Expert, ...]
    sample_weights: Float[Tensor, " train"]
    """D_{t+1}, float64."""
    finished: bool = False

    @classmethod
    def start(cls, method: str, seed: int, n_train: int) -> "EnsembleState":
        return cls(method, seed, (), torch.full((n_train,), 1.0 / n_train, dtype=torch.float64))

    @property
    def next_stream(self) -> int:
        """The seed of the next expert. The first expert on undrawn rows is the same for every method that has one."""
        return expert_stream(self.method, self.seed, len(self.experts))

    def next_view(self, config: EnsembleConfig, n_layers: int) -> View:
        """What the next expert reads of a weak model of so many layers."""
        return make_method(self.method, config).view(n_layers, len(self.experts), self.seed)

    def next_draw(
        self, config: EnsembleConfig, samples: Samples, seed: int, generation: GenerationConfig | None = None
    ) -> Draw:
        """What the next expert learns from.

        Args:
            samples: all training samples, or those outside a held-out fold.
            seed: of the expert, or of its counterpart on a fold.
        """
        return make_method(self.method, config, generation).draw(samples, len(self.experts), seed)


def fit_expert(weak: Weak, state: EnsembleState, config: EnsembleConfig) -> FittedExpert:
    """Train the next expert of `state` and evaluate it exactly once on every example of the run.

    `is_wrong` holds its errors on its own training rows; see `held_out_errors`.
    """
    model, spent = _train_on(weak, torch.arange(len(weak.rows)), state, config, state.next_stream)
    log_probs = model.log_probs(weak.X)
    is_wrong = log_probs[weak.rows].argmax(-1) != weak.labels
    view = state.next_view(config, weak.n_layers)
    return FittedExpert(model.state(), log_probs, is_wrong, spent, view, end_of(model), model)


def held_out_errors(weak: Weak, state: EnsembleState, config: EnsembleConfig) -> tuple[Bool[Tensor, " train"], Spent]:
    """Which training rows the next expert gets wrong without having seen their group; and what the folds read."""

    def judge(inside: Tensor, outside: Tensor, seed: int) -> tuple[Sequence[Tensor], Spent]:
        model, spent = _train_on(weak, inside, state, config, seed)
        held_out = model.log_probs(take(weak.X, weak.rows[outside]))
        return (held_out.argmax(-1) != weak.labels[outside]).split(1), spent

    return cross_fitted(weak.group_ids, config.n_folds, state.next_stream, judge)


def cross_fitted(
    group_ids: Sequence[str],
    n_folds: int,
    seed: int,
    judge: Callable[[Int[Tensor, " inside"], Int[Tensor, " outside"], int], tuple[Sequence[Tensor], Spent]],
) -> tuple[Bool[Tensor, " samples"], Spent]:
    """Errors on held-out folds, in the order of the training rows; and what all folds read.

    Args:
        seed: of the expert that is judged.
        judge: trains on the rows inside and returns one tensor of errors for each row outside, and what it read; its
            last argument is the fold's own seed.
    """
    folds = sampling.group_folds(group_ids, n_folds, stream(seed, "folds"))
    errors: dict[int, Tensor] = {}
    spent = Spent()
    for fold in range(n_folds):
        inside, outside = (folds != fold).nonzero()[:, 0], (folds == fold).nonzero()[:, 0]
        parts, of_fold = judge(inside, outside, stream_seed(seed, "fold", fold))
        errors.update(zip(outside.tolist(), parts, strict=True))
        spent += of_fold
    return torch.cat([errors[i] for i in range(len(group_ids))]), spent


def _train_on(
    weak: Weak,
    candidates: Int[Tensor, " candidates"],
    state: EnsembleState,
    config: EnsembleConfig,
    seed: int,
) -> tuple[Fitted, Spent]:
    """A classifier trained on the method's draw from `candidates` (positions in weak.rows), and what it read."""
    draw = state.next_draw(config, Samples(state.sample_weights[candidates], len(candidates)), seed)
    chosen = candidates[draw.rows]
    learner = weak.learner if make_method(state.method, config).learns else weak.untrained
    if learner is None:
        raise ConfigError(
            f"method: members of {state.method} are asked and not trained, which takes a pretrained model and contexts "
            "of a run's own examples; choose another method, or give it to a run (ensemble.methods)"
        )
    learner = adapted(
        learner,
        take(weak.X, weak.rows[candidates]),
        state.next_view(config, weak.n_layers),
        state.next_stream,  # not the fold's: what is trained on folds reads what the expert reads
    )
    target = nn.functional.one_hot(weak.labels[chosen], weak.n_classes).float()
    model = learner.fit(take(weak.X, weak.rows[chosen]), target, draw.weights[draw.rows], seed=seed)
    end = end_of(model)
    tokens = learner.training_tokens(weak.rows[chosen], end) if isinstance(learner, TextLearning) else 0
    return model, Spent(tokens, 0 if end is None else end.validations)


def grow(state: EnsembleState, fitted: FittedExpert, config: EnsembleConfig, prior_error: float) -> EnsembleState:
    """Add a fitted expert: its weight in the vote, and the sample weights of the next round.

    Raises:
        ModelError: the first expert is no better than the prior, so there is nothing to boost.
    """
    round_index, method = len(state.experts), make_method(state.method, config)
    error, alpha, weights, outcome = method.update(fitted.is_wrong, state.sample_weights, prior_error)
    if outcome == "no_better_than_prior" and round_index == 0:
        raise ModelError(
            f"{state.method}, seed {state.seed}: the first expert's error is {error:.3f}, no better than the prior "
            f"{prior_error:.3f}, so there is nothing to boost; give the weak model more layers, more labelled examples "
            "(split.n_easy_train) or more epochs (expert_training.epochs), or choose other methods (ensemble.methods)"
        )
    expert = Expert(
        method=state.method,
        round=round_index,
        seed=state.next_stream,
        state=fitted.state,
        log_probs=fitted.log_probs,
        sample_weights=state.sample_weights,
        is_wrong=fitted.is_wrong,
        weighted_error=error,
        expert_weight=alpha,
        outcome=outcome,
        training_tokens=fitted.spent.tokens,
        view=fitted.view,
        end=fitted.end,
        validations=fitted.spent.validations,
        member=fitted.member,
        considered=fitted.considered,
    )
    # An expert that is no better than the prior has no vote: it is dropped, and its cost is not hidden by a retry.
    kept = state.experts if outcome == "no_better_than_prior" else (*state.experts, expert)
    finished = outcome != "continue" or len(kept) >= method.n_members(config.n_rounds)
    return EnsembleState(state.method, state.seed, kept, weights, finished)
