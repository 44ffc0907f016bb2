"""Rounds of experts. The methods differ only in how rows are drawn and weighed, and in what of the trunk is read.

single       one expert on all rows
independent  T experts on all rows, from T seeds
bagging      T experts, each on a bootstrap draw
boosting     T experts, each on D_t, which grows where the expert before it was wrong (EnsemW2S, 2410.04571)
subspace, layers   T experts as independent's, each with its own view of the trunk (`views`)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ensemw2s.config import EnsembleConfig, TrainConfig
from ensemw2s.core import boosting, sampling
from ensemw2s.core.losses import CrossEntropy, WeakBatch
from ensemw2s.core.seeds import stream, stream_seed
from ensemw2s.ensemble.views import VIEWS, view_of
from ensemw2s.errors import ModelError
from ensemw2s.models.adapters import Adapter, fit_scale, head_of, owned_state
from ensemw2s.names import Method
from ensemw2s.records import WHOLE, Expert, Inputs, View
from ensemw2s.train.loop import Supervision, predict, train

SCALE_ROWS = 256
"""Examples that a head's feature scale is measured on: enough for a root mean square, and cheap under LoRA."""


@dataclass(frozen=True)
class Weak:
    """What all experts of one seed share: the trunk's activations, the labelled rows, and how an expert is made."""

    inputs: Inputs
    """Over all examples of the run."""
    rows: Int[Tensor, " train"]
    labels: Int[Tensor, " train"]
    group_ids: Sequence[str]
    """Of the training rows, so that held-out folds do not tear a group."""
    n_classes: int
    build: Callable[[torch.Generator], Adapter]
    """A fresh trainable module whose initial weights come from the generator."""
    training: TrainConfig
    n_layers: int = 1
    """Below `inputs`."""
    at_depth: Mapping[int, Inputs] = field(default_factory=dict[int, Inputs])
    """As `inputs`, after fewer layers, for members with a depth of their own."""

    def seen(self, view: View) -> Inputs:
        """What an expert with this view reads."""
        return self.inputs if view.depth is None else self.at_depth[view.depth]


@dataclass(frozen=True)
class Fitted:
    """A trained expert before the boosting formula: what the store keeps."""

    state: dict[str, Tensor]
    log_probs: Float[Tensor, "examples classes"]
    is_wrong: Bool[Tensor, " train"]
    training_tokens: int
    view: View = WHOLE


@dataclass(frozen=True)
class EnsembleState:
    """The experts so far, and the weights that the next one is to answer to."""

    method: Method
    seed: int
    experts: tuple[Expert, ...]
    sample_weights: Float[Tensor, " train"]
    """D_{t+1}, float64."""
    finished: bool = False

    @classmethod
    def start(cls, method: Method, seed: int, n_train: int) -> "EnsembleState":
        return cls(method, seed, (), torch.full((n_train,), 1.0 / n_train, dtype=torch.float64))

    @property
    def next_stream(self) -> int:
        """The seed of the next expert. The first expert on undrawn rows is the same for every method that has one."""
        return expert_stream(self.method, self.seed, len(self.experts))

    def next_view(self, config: EnsembleConfig, n_layers: int) -> View:
        """What the next expert reads of a trunk of so many layers."""
        return view_of(self.method, config, n_layers, self.seed, len(self.experts))


def expert_stream(method: Method, seed: int, position: int) -> int:
    """The seed of an expert: two experts of equal seed and view that learn from the same weights are one."""
    shared = not position and method != "bagging"
    drawn_as = "independent" if method in VIEWS else method
    return stream_seed(seed, "expert", "first" if shared else drawn_as, position)


def fit_expert(
    weak: Weak,
    state: EnsembleState,
    config: EnsembleConfig,
    *,
    on_step: Callable[[int, int], None] = lambda d, t: None,
) -> Fitted:
    """Train the next expert of `state` and evaluate it exactly once on every example of the run."""
    seed, view = state.next_stream, state.next_view(config, weak.n_layers)
    inputs = weak.seen(view)
    everything = torch.arange(len(weak.rows))
    module, tokens = _train_on(weak, everything, state, config, seed, on_step)
    log_probs = predict(module, inputs, torch.arange(len(inputs.lengths)))
    is_wrong = log_probs[weak.rows].argmax(-1) != weak.labels
    return Fitted(owned_state(module), log_probs, is_wrong, tokens, view)


def held_out_errors(weak: Weak, state: EnsembleState, config: EnsembleConfig) -> tuple[Bool[Tensor, " train"], int]:
    """Errors of the next expert's like on folds that they did not see, and the tokens read.

    An expert that knows its training examples by heart has no errors there for boosting to follow.
    """
    seed, tokens = state.next_stream, 0
    inputs = weak.seen(state.next_view(config, weak.n_layers))
    folds = sampling.group_folds(weak.group_ids, config.n_folds, stream(seed, "folds"))
    is_wrong = torch.empty(len(weak.rows), dtype=torch.bool)
    for fold in range(config.n_folds):
        inside, outside = (folds != fold).nonzero()[:, 0], (folds == fold).nonzero()[:, 0]
        module, fold_tokens = _train_on(weak, inside, state, config, stream_seed(seed, "fold", fold), lambda d, t: None)
        held_out = predict(module, inputs, weak.rows[outside])
        is_wrong[outside] = held_out.argmax(-1) != weak.labels[outside]
        tokens += fold_tokens
    return is_wrong, tokens


def _train_on(
    weak: Weak,
    candidates: Int[Tensor, " candidates"],
    state: EnsembleState,
    config: EnsembleConfig,
    seed: int,
    on_step: Callable[[int, int], None],
) -> tuple[Adapter, int]:
    """A module trained on the method's draw from `candidates` (positions in weak.rows), and the tokens it read."""
    n = len(candidates)
    weights = torch.ones(n)
    if state.method == "bagging":
        chosen = candidates[sampling.bootstrap(n, stream(seed, "draw"))]
    elif state.method == "boosting" and state.experts:
        share = state.sample_weights[candidates] / state.sample_weights[candidates].sum()
        if config.reweight == "resample":
            chosen = candidates[sampling.resample(share, stream(seed, "draw"))]
        else:
            chosen, weights = candidates, (share * n).float()
    else:
        chosen = candidates
    view = state.next_view(config, weak.n_layers)
    inputs, head = weak.seen(view), head_of(module := weak.build(stream(seed, "init")))
    fit_scale(module, inputs, weak.rows[candidates[:SCALE_ROWS]])
    if view.feature_share < 1:
        # Of the expert's stream, not of a fold's: the like on folds reads what the expert reads.
        drawn = stream(state.next_stream, "features")
        head.restrict(sampling.subspace(len(head.scale), view.feature_share, drawn))
    targets = nn.functional.one_hot(weak.labels[chosen], weak.n_classes).float()
    supervision = Supervision(weak.rows[chosen], WeakBatch(soft=targets), weights)
    train(module, inputs, supervision, CrossEntropy(), weak.training, seed=seed, on_step=on_step)
    return module, weak.training.epochs * int(inputs.lengths[weak.rows[chosen]].sum())


def grow(state: EnsembleState, fitted: Fitted, config: EnsembleConfig, prior_error: float) -> EnsembleState:
    """Add a fitted expert: its weight in the vote and, for boosting, the weights of the next round.

    Raises:
        ModelError: the first boosted expert is no better than the prior, so there is nothing to boost.
    """
    round_index = len(state.experts)
    if state.method == "boosting":
        result = boosting.boost_round(
            fitted.is_wrong,
            state.sample_weights,
            prior_error=prior_error,
            shrinkage=config.shrinkage,
            max_expert_weight=config.max_expert_weight,
        )
        error, alpha, weights, outcome = (
            result.weighted_error,
            result.expert_weight,
            result.sample_weights,
            result.outcome,
        )
        if outcome == "no_better_than_prior" and round_index == 0:
            raise ModelError(
                f"boosting, seed {state.seed}: the first expert's error is {error:.3f}, no better than the prior "
                f"{prior_error:.3f}, so there is nothing to boost; give the weak model more layers, more examples "
                "(split.n_easy_train) or more epochs (expert_training.epochs), or take boosting out of "
                "ensemble.methods"
            )
    else:
        error = float((state.sample_weights * fitted.is_wrong).sum())
        alpha, weights, outcome = 1.0, state.sample_weights, "continue"
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
        training_tokens=fitted.training_tokens,
        view=fitted.view,
    )
    # An expert that is no better than the prior has no vote: it is dropped, and its cost is not hidden by a retry.
    kept = state.experts if outcome == "no_better_than_prior" else (*state.experts, expert)
    n_rounds = 1 if state.method == "single" else config.n_rounds
    finished = outcome != "continue" or len(kept) >= n_rounds
    return EnsembleState(state.method, state.seed, kept, weights, finished)
