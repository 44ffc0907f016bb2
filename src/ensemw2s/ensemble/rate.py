"""Difficulty as the weak model finds it, cross-fitted: no example is scored by a model that saw it.

`entropy` and `margin` need no label of the examples they score, but their raters must learn from some. A random
part of the task is set aside for that and takes no further part, so that no label of the hard side decides
anything. `p_true` (as the authors of 2410.04571 rate) reads every label, and the split says so.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ensemw2s.config import DifficultyConfig, TrainConfig
from ensemw2s.core import difficulty, sampling
from ensemw2s.core.losses import CrossEntropy, WeakBatch
from ensemw2s.core.seeds import stream, stream_seed
from ensemw2s.ensemble.fit import SCALE_ROWS
from ensemw2s.errors import DataError
from ensemw2s.models.adapters import Adapter, fit_scale
from ensemw2s.train.loop import Supervision, predict, train
from ensemw2s.types import Inputs


@dataclass(frozen=True)
class Rating:
    """A difficulty per example of the task, and which examples lent their label to the raters."""

    difficulty: Float[Tensor, " examples"]
    """Larger is harder: nats for entropy, probability for margin and p_true."""
    set_aside: Bool[Tensor, " examples"]


def rate(
    inputs: Inputs,
    labels: Int[Tensor, " examples"],
    group_ids: Sequence[str],
    n_classes: int,
    build: Callable[[torch.Generator], Adapter],
    training: TrainConfig,
    config: DifficultyConfig,
    *,
    seed: int,
) -> Rating:
    """Cross-fit the weak model over `config.n_folds` folds of its labelled examples and score every example.

    An example of a fold is scored by the one model that did not see its fold; an example that no model saw is
    scored by the mean of them all.
    """
    n = len(labels)
    labelled = learners(group_ids, config, seed)
    folds = sampling.group_folds([str(group_ids[int(i)]) for i in labelled], config.n_folds, stream(seed, "rate-folds"))
    outside = torch.ones(n, dtype=torch.bool)
    outside[labelled] = False
    probabilities = torch.zeros(n, n_classes)
    for fold in range(config.n_folds):
        rows = labelled[folds != fold]
        module = build(stream(seed, "rate-init", fold))
        fit_scale(module, inputs, rows[:SCALE_ROWS])
        targets = nn.functional.one_hot(labels[rows], n_classes).float()
        supervision = Supervision(rows, WeakBatch(soft=targets), torch.ones(len(rows)))
        train(module, inputs, supervision, CrossEntropy(), training, seed=stream_seed(seed, "rate", fold))
        scored = torch.cat([labelled[folds == fold], outside.nonzero()[:, 0]])
        share = torch.where(outside[scored], 1.0 / config.n_folds, 1.0)
        probabilities[scored] += share[:, None] * predict(module, inputs, scored).exp()
    log_probs = probabilities.clamp_min(torch.finfo(torch.float32).tiny).log()
    if config.source == "p_true":
        return Rating(difficulty.p_true_difficulty(log_probs, labels), torch.zeros(n, dtype=torch.bool))
    kind: Literal["entropy", "margin"] = "margin" if config.source == "margin" else "entropy"
    return Rating(difficulty.uncertainty(log_probs, kind), ~outside)


def learners(group_ids: Sequence[str], config: DifficultyConfig, seed: int) -> Int[Tensor, " learners"]:
    """Rows whose labels train the raters: all for `p_true`, else whole groups up to `n_labelled` examples.

    Raises:
        DataError: they are fewer groups than folds, or they are all that there is.
    """
    by_group: dict[str, list[int]] = {}
    for i, group in enumerate(group_ids):
        by_group.setdefault(group, []).append(i)
    groups = sorted(by_group)
    chosen: list[str] = []
    n_chosen = 0
    if config.source == "p_true":
        chosen, n_chosen = groups, len(group_ids)
    else:
        for g in torch.randperm(len(groups), generator=stream(seed, "rate-learners")).tolist():
            if n_chosen >= config.n_labelled:
                break
            chosen.append(groups[g])
            n_chosen += len(by_group[groups[g]])
        if n_chosen == len(group_ids):
            raise DataError(
                f"difficulty.n_labelled ({config.n_labelled}) takes all {len(group_ids)} examples of the task, so none "
                "is left to rate; lower it"
            )
    if len(chosen) < config.n_folds:
        raise DataError(
            f"difficulty.n_folds ({config.n_folds}) exceeds the {len(chosen)} groups of the {n_chosen} examples whose "
            "labels train the raters; lower it, or raise difficulty.n_labelled"
        )
    return torch.tensor(sorted(i for group in chosen for i in by_group[group]))
