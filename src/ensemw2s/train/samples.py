"""What a training learns from, and what its settings are chosen by."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ensemw2s.config import TrainConfig
from ensemw2s.core import sampling
from ensemw2s.core.losses import WeakBatch
from ensemw2s.core.pacing import Pace
from ensemw2s.core.seeds import stream
from ensemw2s.errors import DataError


@dataclass(frozen=True)
class Supervision:
    """Training data: rows of the inputs (which may repeat), each with a target and a weight."""

    rows: Int[Tensor, " samples"]
    targets: WeakBatch
    """Targets; `soft` is [samples, classes], one-hot for true labels."""
    weights: Float[Tensor, " samples"]
    """Sample weights with mean 1 over the data set; weights of a batch are never renormalised."""
    pace: Pace | None = None
    """Curriculum; None trains on all samples from the start."""

    def take(self, index: Int[Tensor, " batch"]) -> WeakBatch:
        """Targets of these samples."""
        t = self.targets
        return WeakBatch(
            soft=t.soft[index],
            member=None if t.member is None else t.member[:, index],
            group=None if t.group is None else t.group[index],
        )


def balanced(soft: Float[Tensor, "samples classes"], weights: Float[Tensor, " samples"]) -> Float[Tensor, " samples"]:
    """Sample weights under which every class that occurs has the same share, and which add up to the same.

    For one-hot targets and equal weights, those of scikit-learn's `class_weight="balanced"`. A soft target counts for
    its classes in their proportions.
    """
    mass = (weights[:, None] * soft).sum(0)
    share = torch.where(mass > 0, weights.sum() / (mass.clamp_min(1e-12) * (mass > 0).sum()), 0.0)
    return weights * (soft @ share)


@dataclass(frozen=True)
class Validation:
    """Labelled rows of the inputs that a training does not learn from."""

    rows: Int[Tensor, " val"]
    labels: Int[Tensor, " val"]


N_FOLDS = 5
"""Parts of the samples of which some are held out where validation data are needed and none are given."""


def held_out(supervision: Supervision, seed: int) -> tuple[Supervision, Validation]:
    """The samples without a fifth of their rows, and that fifth with the likeliest class of each row's target."""
    is_held = held_out_fold(supervision.rows, seed)
    rest, held = (~is_held).nonzero()[:, 0], is_held.nonzero()[:, 0]
    pace = supervision.pace
    kept = Supervision(
        supervision.rows[rest],
        supervision.take(rest),
        supervision.weights[rest],
        None if pace is None else replace(pace, hardness=pace.hardness[rest]),
    )
    return kept, Validation(supervision.rows[held], supervision.targets.soft[held].argmax(-1))


def held_out_fold(rows: Int[Tensor, " samples"], seed: int) -> Bool[Tensor, " samples"]:
    """Which samples are held out to end a training by: a fifth, the copies of one row together.

    Raises:
        DataError: there are not two rows.
    """
    n_rows = len(rows.unique())
    if n_rows < 2:
        raise DataError(
            f"patience holds out a part of the examples where no validation data are given, and there is {n_rows}; "
            "give more, or set patience: null"
        )
    folds = sampling.group_folds([str(r) for r in rows.tolist()], min(N_FOLDS, n_rows), stream(seed, "validation"))
    return folds == 0


def chosen_by(validation: Validation | None, training: TrainConfig) -> list[Any] | None:
    """What of the validation data decides a training: for keys of the store."""
    chooses = training.is_fitted or training.patience is not None
    return [validation.rows.tolist(), validation.labels.tolist()] if validation is not None and chooses else None
