"""What an ensemble is made of: anything that learns distributions over classes from weighted rows."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.core.losses import WeakToStrongLoss
from ensemw2s.errors import ConfigError
from ensemw2s.records import WHOLE, View
from ensemw2s.train.samples import Supervision
from ensemw2s.training_end import TrainingEnd


@runtime_checkable
class Fitted(Protocol):
    """A trained classifier."""

    def log_probs(self, X: Any) -> Float[Tensor, "rows classes"]:
        """Log-probabilities of every class of the target, for rows of the form that it was trained on."""
        ...

    def state(self) -> dict[str, Tensor]:
        """The trained parameters by name; empty where they are no tensors."""
        ...


@runtime_checkable
class Learner(Protocol):
    """How a classifier is trained. It keeps nothing of one training for the next."""

    def fit(
        self,
        X: Any,
        target: Float[Tensor, "rows classes"],
        sample_weight: Float[Tensor, " rows"],
        *,
        seed: int,
    ) -> Fitted:
        """Train a fresh classifier.

        Args:
            X: rows of any form that `take` can index; a row may occur several times.
            target: a distribution over the classes for each row; a class may have no probability in any.
            sample_weight: mean 1 over the data that the rows were drawn from.
            seed: of everything that is random in the training.
        """
        ...


@runtime_checkable
class StudentLearner(Learner, Protocol):
    """A learner that can be trained with any student loss, and in any order of the samples."""

    def fit_supervision(self, X: Any, supervision: Supervision, loss: WeakToStrongLoss, *, seed: int) -> Fitted:
        """Train a fresh classifier.

        Args:
            supervision: its rows are indices into X.
            loss: one number per sample; its link says how the classifier's logits become probabilities.
        """
        ...


@runtime_checkable
class AdaptableLearner(Learner, Protocol):
    """A learner that looks at the unlabelled rows first, or can read a part of them only."""

    def adapted(self, X: Any, view: View, seed: int) -> Learner:
        """The learner of one member of an ensemble.

        Args:
            X: all rows that the member's draw is made from, each once: for scales of features.
            view: what of each row the member reads.
            seed: of the member, the same for the classifiers on its held-out folds.
        """
        ...


@runtime_checkable
class TextLearning(Protocol):
    """A learner whose rows are texts, and which knows how much of them a training reads."""

    def training_tokens(self, X: Any, end: TrainingEnd | None) -> int:
        """Tokens that a training on these rows read that ended so, as if nothing were cached."""
        ...


def end_of(fitted: Fitted) -> TrainingEnd | None:
    """How the training of a classifier ended, where it has an `end` that says so."""
    end = getattr(fitted, "end", None)
    return end if isinstance(end, TrainingEnd) else None


def adapted(learner: Learner, X: Any, view: View, seed: int) -> Learner:
    """`learner.adapted(...)` where it has that.

    Raises:
        ConfigError: the learner cannot read a part of a row, and the view is one.
    """
    if isinstance(learner, AdaptableLearner):
        return learner.adapted(X, view, seed)
    if view != WHOLE:
        raise ConfigError(
            f"method: a {type(learner).__name__} reads whole rows, and the members of this method read parts; choose "
            "another method, or give it an `adapted` method"
        )
    return learner


def take(X: Any, rows: Int[Tensor, " rows"]) -> Any:
    """These rows of a tensor, an array, a sparse matrix, a data frame or a sequence."""
    if isinstance(X, Tensor):
        return X[rows]
    if hasattr(X, "iloc"):
        return X.iloc[rows.numpy()]
    if isinstance(X, np.ndarray) or hasattr(X, "tocsr"):
        return X[rows.numpy()]
    return [X[i] for i in rows.tolist()]
