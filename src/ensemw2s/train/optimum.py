"""Linear heads at the optimum of their loss, instead of as many optimiser steps as were set."""

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from threadpoolctl import threadpool_limits
from torch import Tensor

from ensemw2s.config import TrainConfig
from ensemw2s.core import sampling
from ensemw2s.core.linear import PENALTIES, LinearFitter, Objective, Trial, best_penalty
from ensemw2s.core.losses import GlobalStats, WeakToStrongLoss
from ensemw2s.core.seeds import stream
from ensemw2s.errors import ConfigError
from ensemw2s.models.adapting.head import Head
from ensemw2s.records import Inputs
from ensemw2s.train.samples import N_FOLDS, Supervision, Validation
from ensemw2s.training_end import TrainingEnd

FLOOR = 1e-3
"""Smallest spread of a feature in units of its magnitude. A head has no intercept: features that hardly vary take its
place, and a constant one would take it for nothing."""
SMALL = 500_000
"""Numbers in the features, in the basis that a fit sees, below which one thread is faster than several."""
ROWS = 512
"""Examples whose features are read at a time."""


def has_optimum(loss: WeakToStrongLoss, supervision: Supervision) -> bool:
    """Whether a linear head has one: the loss is convex, and all samples are learned at once."""
    return getattr(loss, "is_convex", False) and supervision.pace is None


def fit_optimum(
    head: object,
    inputs: Inputs,
    supervision: Supervision,
    loss: WeakToStrongLoss,
    config: TrainConfig,
    *,
    seed: int,
    validation: Validation | None,
) -> TrainingEnd:
    """Set a head's scale and weights to the minimum of the mean weighted loss plus l2/2 times the squared weights.

    Features are divided by their standard deviation over the samples, unless the head keeps its scale. With `l2: auto`
    the penalty is that of least log loss on the validation data, or without any on held-out folds of the samples
    (copies of one row in one fold). Where a feature holds several poolings, the choice of one of them or of all is made
    in the same way.

    Raises:
        ConfigError: not a head without hidden layer and dropout, or a loss or an order of samples that has no optimum.
    """
    if not isinstance(head, Head) or head.hidden is not None or head.dropout.p > 0:
        raise ConfigError(
            "solver: lbfgs fits a linear head; set adapter: head, head_hidden: 0 and dropout: 0, or solver: adamw"
        )
    if not has_optimum(loss, supervision):
        raise ConfigError(
            f"solver: lbfgs finds the optimum of a convex loss of all samples at once, which {type(loss).__name__} or "
            "a curriculum has not; choose loss: xent or smoothing without a curriculum, or solver: adamw"
        )
    raw = _features(head, inputs, supervision.rows)
    if not head.keeps_scale:
        spread, scale = torch.maximum(raw.std(0, correction=0), FLOOR * raw.square().mean(0).sqrt()), head.scale.cpu()
        head.scale.copy_(torch.where(scale.isinf(), scale, torch.where(spread > 0, spread, 1.0)))
    features, n_classes = raw / head.scale.cpu(), supervision.targets.soft.shape[1]

    def objective(samples: Int[Tensor, " some"]) -> Objective:
        targets, weights = supervision.take(samples), supervision.weights[samples].double()
        targets = targets._replace(soft=targets.soft.double())
        return lambda logits: (weights * loss(logits, targets, GlobalStats(), train_frac=1.0)).sum() / len(samples)

    with _threads_worth_their_cost(features):
        choice = _chosen(head, inputs, supervision, config, features, objective, seed=seed, validation=validation)
        fit = choice.fitter.fit(objective(torch.arange(len(features))), n_classes, choice.l2)
    with torch.no_grad():
        head.score.weight.zero_()
        head.score.weight[:, choice.is_read] = fit.weight.to(head.score.weight)
        head.restrict(choice.is_read)
    head.eval()
    likeliest = (features[:, choice.is_read].double() @ fit.weight.T).argmax(-1)
    return TrainingEnd(
        ended="converged" if fit.converged else "gave_up",
        converged=fit.converged,
        steps=fit.evaluations,
        training_loss=fit.loss,
        training_accuracy=float((likeliest == supervision.targets.soft.argmax(-1)).double().mean()),
        validation_loss=choice.judge(fit.weight) if choice.judge is not None else None,
        gradient=fit.gradient,
        l2=choice.l2,
    )


class _Choice(NamedTuple):
    fitter: LinearFitter
    """To all samples."""
    l2: float
    is_read: Bool[Tensor, " dim"]
    judge: Callable[[Float[Tensor, "classes features"]], float] | None
    """Log loss of weights on the validation data, where these chose."""


def _chosen(
    head: Head,
    inputs: Inputs,
    supervision: Supervision,
    config: TrainConfig,
    features: Float[Tensor, "samples dim"],
    objective: Callable[[Int[Tensor, " some"]], Objective],
    *,
    seed: int,
    validation: Validation | None,
) -> _Choice:
    """The penalty, and which of several poolings are read."""
    n_classes, unread = supervision.targets.soft.shape[1], head.scale.cpu().isinf()
    readings = [is_read & ~unread for is_read in head.blocks()]
    if config.l2 != "auto" and len(readings) == 1:
        return _Choice(LinearFitter(features[:, readings[0]]), config.l2, readings[0], None)
    penalties = PENALTIES if config.l2 == "auto" else (config.l2,)
    if validation is not None:
        held_out = (_features(head, inputs, validation.rows) / head.scale.cpu()).double()
    else:
        folds = sampling.group_folds([str(r) for r in supervision.rows.tolist()], N_FOLDS, stream(seed, "penalty"))
    best, least = None, float("inf")
    for is_read in readings:
        fitter, judge = LinearFitter(features[:, is_read]), None
        if validation is not None:
            judge = _log_loss_on(held_out[:, is_read], validation.labels)
            trials = [(fitter, objective(torch.arange(len(features))), judge)]
        else:
            trials = [_fold_trial(features[:, is_read], objective, torch.eq(folds, fold)) for fold in range(N_FOLDS)]
        l2, judged = best_penalty(trials, n_classes, penalties)
        if best is None or judged < least:
            best, least = _Choice(fitter, l2, is_read, judge), judged
    assert best is not None
    return best


def _log_loss_on(
    features: Float[Tensor, "val features"], labels: Int[Tensor, " val"]
) -> Callable[[Float[Tensor, "classes features"]], float]:
    return lambda weight: float(torch.nn.functional.cross_entropy(features @ weight.T, labels))


def _fold_trial(
    features: Float[Tensor, "samples dim"],
    objective: Callable[[Int[Tensor, " some"]], Objective],
    is_outside: Bool[Tensor, " samples"],
) -> Trial:
    inside, outside = (~is_outside).nonzero()[:, 0], is_outside.nonzero()[:, 0]
    rest, left = objective(outside), features[outside].double()
    return LinearFitter(features[inside]), objective(inside), lambda weight: float(rest(left @ weight.T))


@contextlib.contextmanager
def _threads_worth_their_cost(features: Float[Tensor, "samples dim"]) -> Iterator[None]:
    """SciPy's steps on vectors in one thread, and torch's on small features: threads that wait for each other made a
    fit to 192 examples twenty times slower."""
    n_threads = torch.get_num_threads()
    if len(features) * min(features.shape) < SMALL:
        torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(n_threads)


@torch.no_grad()
def _features(head: Head, inputs: Inputs, rows: Int[Tensor, " rows"]) -> Float[Tensor, "rows dim"]:
    return torch.cat([head.pooled(*inputs.batch(part)).float().cpu() for part in rows.split(ROWS)])
