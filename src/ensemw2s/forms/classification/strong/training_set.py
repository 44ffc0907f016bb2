"""What a student that classifies is trained on."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Bool, Int
from torch import Tensor

from ensemw2s.config import TrainConfig
from ensemw2s.core.losses import WeakToStrongLoss
from ensemw2s.train.samples import Supervision, Validation


@dataclass(frozen=True)
class ClassTrainingSet:
    """What one student learns, and of which rows it is asked right after."""

    training: TrainConfig
    """Resolved."""
    supervision: Supervision
    loss: WeakToStrongLoss
    parts: Mapping[str, Int[Tensor, " _"]]
    validation: Validation | None
    """None where they are learned, too: nothing is chosen by them then."""
    is_read: Bool[Tensor, " dim"] | None = None
    """Dimensions of the feature that a head reads, where that is settled."""
