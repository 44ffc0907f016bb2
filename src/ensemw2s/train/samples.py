"""What a training learns from, and what its settings are chosen by."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.config import TrainConfig
from ensemw2s.core.losses import WeakBatch
from ensemw2s.core.pacing import Pace


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


def chosen_by(validation: Validation | None, training: TrainConfig) -> list[Any] | None:
    """What of the validation data decides a training: for keys of the store."""
    if validation is None or training.solver != "lbfgs":
        return None
    return [validation.rows.tolist(), validation.labels.tolist()]
