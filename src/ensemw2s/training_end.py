"""How a training ended: what a reader must know of a learner before believing its figures."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class TrainingEnd:
    """The end of one training; of an ensemble's member, of a student."""

    ended: Literal["converged", "gave_up", "stopped_early", "all_epochs"]
    """A fit (`solver: lbfgs`) `converged`, or `gave_up` after its most evaluations. Optimiser steps (`adamw`)
    `stopped_early` by `patience`, or took `all_epochs`."""
    converged: bool
    """Whether more training would change nothing that matters: the fit reached the optimum, the training stopped early,
    or without patience its training loss stood still at the end (`train.progress`)."""
    steps: int
    """Optimiser steps; of a fit, evaluations of the loss with its gradient, without those of the search for `l2`."""
    epochs: int | None = None
    """Done; None for a fit."""
    kept_epoch: int | None = None
    """`patience`: the epoch, from 1, whose weights were kept."""
    training_loss: float | None = None
    """Mean over the last epoch, as it was trained (dropout, weights of samples), per example or answer token: of
    answers that all count alike the negative log-likelihood. None where it was no number."""
    training_accuracy: float | None = None
    """Classes: share of these examples whose likeliest class was that of their target."""
    validation_loss: float | None = None
    """Log loss of the kept weights on the validation data, per example or answer token, where they decided anything;
    of a lesson from pairs the share of wrong answers."""
    validations: int = 0
    """`patience`: passes over the validation data."""
    gradient: float | None = None
    """Fits: largest component of the gradient at the end."""
    l2: float | None = None
    """Fits: weight of the penalty, as it was set or chosen."""

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "TrainingEnd | None":
        """The end that an artifact's record holds; None where it was made before ends were kept."""
        return None if record.get("end") is None else cls(**record["end"])

    @property
    def record(self) -> dict[str, Any]:
        """For an artifact's record."""
        return {"end": asdict(self)}
