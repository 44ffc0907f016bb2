"""Linear heads at the optimum of their loss, instead of as many optimiser steps as were set."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.config import TrainConfig
from ensemw2s.core import sampling
from ensemw2s.core.linear import LinearFitter, Objective, best_penalty
from ensemw2s.core.losses import GlobalStats, WeakToStrongLoss
from ensemw2s.core.seeds import stream
from ensemw2s.errors import ConfigError
from ensemw2s.models.head import Head
from ensemw2s.records import Inputs
from ensemw2s.train.samples import Supervision, Validation

N_FOLDS = 5
"""Where the penalty is to be chosen and no validation data are given."""
FLOOR = 1e-3
"""Smallest spread of a feature in units of its magnitude. A head has no intercept: features that hardly vary take its
place, and a constant one would take it for nothing."""
ROWS = 512
"""Examples whose features are read at a time."""


def fit_optimum(
    head: object,
    inputs: Inputs,
    supervision: Supervision,
    loss: WeakToStrongLoss,
    config: TrainConfig,
    *,
    seed: int,
    validation: Validation | None,
) -> float:
    """Set a head's scale and weights to the minimum of the mean weighted loss plus l2/2 times the squared weights.

    Returns l2, as it was set or chosen.

    Features are divided by their standard deviation over the samples. With `l2: auto` the penalty is that of least log
    loss on the validation data, or without any on held-out folds of the samples (copies of one row in one fold).

    Raises:
        ConfigError: not a head without hidden layer and dropout, or a loss or an order of samples that has no optimum.
    """
    if not isinstance(head, Head) or head.hidden is not None or head.dropout.p > 0:
        raise ConfigError(
            "solver: lbfgs fits a linear head; set adapter: head, head_hidden: 0 and dropout: 0, or solver: adamw"
        )
    if not getattr(loss, "is_convex", False) or supervision.pace is not None:
        raise ConfigError(
            f"solver: lbfgs finds the optimum of a convex loss of all samples at once, which {type(loss).__name__} or "
            "a curriculum has not; choose loss: xent or smoothing without a curriculum, or solver: adamw"
        )
    raw = _features(head, inputs, supervision.rows)
    spread = torch.maximum(raw.std(0, correction=0), FLOOR * raw.square().mean(0).sqrt())
    head.scale.copy_(torch.where(head.scale.isinf(), head.scale, torch.where(spread > 0, spread, 1.0)))
    features, n_classes = raw / head.scale.cpu(), supervision.targets.soft.shape[1]

    def objective(samples: Int[Tensor, " some"]) -> Objective:
        targets, weights = supervision.take(samples), supervision.weights[samples].double()
        targets = targets._replace(soft=targets.soft.double())
        return lambda logits: (weights * loss(logits, targets, GlobalStats(), train_frac=1.0)).sum() / len(samples)

    everything = torch.arange(len(features))
    fitter, whole = LinearFitter(features), objective(everything)
    l2 = config.l2
    if l2 == "auto":
        if validation is not None:
            held_out = (_features(head, inputs, validation.rows) / head.scale.cpu()).double()
            labels = validation.labels

            def judge(weight: Float[Tensor, "classes features"]) -> float:
                return float(torch.nn.functional.cross_entropy(held_out @ weight.T, labels))

            trials = [(fitter, whole, judge)]
        else:
            trials = []
            folds = sampling.group_folds([str(r) for r in supervision.rows.tolist()], N_FOLDS, stream(seed, "penalty"))
            for fold in range(N_FOLDS):
                inside, outside = (folds != fold).nonzero()[:, 0], (folds == fold).nonzero()[:, 0]
                rest, left = objective(outside), features[outside].double()
                trials.append(
                    (
                        LinearFitter(features[inside]),
                        objective(inside),
                        lambda weight, rest=rest, left=left: float(rest(left @ weight.T)),
                    )
                )
        l2 = best_penalty(trials, n_classes)
    found = fitter.fit(whole, n_classes, l2)
    with torch.no_grad():
        head.score.weight.copy_(found.weight.masked_fill(head.scale.cpu().isinf(), 0.0))
    head.eval()
    return l2


@torch.no_grad()
def _features(head: Head, inputs: Inputs, rows: Int[Tensor, " rows"]) -> Float[Tensor, "rows dim"]:
    return torch.cat([head.pooled(*inputs.batch(part)).float().cpu() for part in rows.split(ROWS)])
