"""The trainings of a strong model for one student, whatever the strong model is."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.config import Recipe
from ensemw2s.core import sampling
from ensemw2s.core.calibration import apply_temperature, fit_temperature
from ensemw2s.core.labels import Labelled, Votes
from ensemw2s.core.losses import CrossEntropy, WeakToStrongLoss
from ensemw2s.core.seeds import stream, stream_seed
from ensemw2s.core.selection import Evidence
from ensemw2s.ensemble.learners.base import Fitted, Learner, StudentLearner, take
from ensemw2s.errors import ConfigError
from ensemw2s.estimators.text_model import TextLearner
from ensemw2s.train.samples import Supervision
from ensemw2s.train.supervision import StudentData, learned_labels, true_labels


class StudentTraining:
    """The trainings of the strong model for one student: of label models, of selections, and its own.

    Args:
        X: the unlabelled rows, then the easy ones.
        easy_labels: class indices; empty where there is no easy example.

    Raises:
        ValueError: the recipe needs what is not given.
    """

    def __init__(
        self,
        learner: Learner,
        X: Any,
        votes: Votes,
        easy_labels: Int[Tensor, " easy"],
        recipe: Recipe,
        validation_fraction: float,
        seed: int,
    ):
        self._learner, self._X, self._votes, self._recipe = learner, X, votes, recipe
        self._validation_fraction, self._seed = float(validation_fraction), seed
        n, n_easy = len(votes.soft), len(easy_labels)
        if recipe.curriculum == "difficulty":
            raise ValueError(
                "recipe: curriculum: difficulty needs the difficulty of each example, which is not given; choose "
                "curriculum: confidence"
            )
        if recipe.with_easy and not n_easy:
            raise ValueError("recipe: with_easy trains on labelled easy examples; give easy=(X, y)")
        if isinstance(learner, TextLearner):
            learner.model.open(X)  # all texts in one pass of the frozen model
        self._data = StudentData(
            easy_rows=torch.arange(n, n + n_easy),
            easy_labels=easy_labels,
            hard_rows=torch.arange(n),
            difficulty=torch.full((n + n_easy,), torch.nan),
            people=torch.full((n,), -1),
        )

    def labels(self) -> Labelled:
        """What the recipe's label model and selection make of the votes."""
        return learned_labels(self._recipe, self._votes, self._learn, self._evidence)

    def student(self, labelled: Labelled) -> Fitted:
        """The strong model trained on these labels as the recipe says."""
        loss = self._recipe.make_loss()
        return self._fit(
            self._data.by_recipe(self._recipe, loss, labelled, self._votes.member, self._votes.voted), loss
        )

    def _learn(self, labelled: Labelled) -> Float[Tensor, "items classes"]:
        return self._log_probs(self._fit(self._data.pseudo_labels(labelled)), self._data.hard_rows).exp()

    def _evidence(self) -> Evidence:
        n_classes = self._votes.soft.shape[1]
        trusted = torch.zeros(len(self._data.easy_rows), dtype=torch.bool)
        own = trusted_own = torch.empty(0, n_classes)
        rows, labels = self._data.easy_rows, self._data.easy_labels
        if self._recipe.make_selection().reads_own:
            trusted = sampling.stratified_holdout(labels, self._validation_fraction, stream(self._seed, "validation"))
            if not bool(trusted.any()):
                raise ValueError(
                    f"recipe: the selection {self._recipe.selection} asks a strong model that learned easy examples; "
                    "give easy=(X, y) with several of each class"
                )
            on_easy = self._fit(true_labels(rows[~trusted], labels[~trusted], n_classes))
            own, trusted_own = (self._log_probs(on_easy, part) for part in (self._data.hard_rows, rows[trusted]))
            temperature = fit_temperature(trusted_own, labels[trusted])
            own, trusted_own = (apply_temperature(part, temperature).exp() for part in (own, trusted_own))

        def features() -> tuple[Tensor, Tensor]:
            return self._features(self._data.hard_rows), self._features(rows[trusted])

        return Evidence(self._votes.member, own, trusted_own, labels[trusted], features, self._votes.voted)

    def _fit(self, supervision: Supervision, loss: WeakToStrongLoss | None = None) -> Fitted:
        seed, loss = stream_seed(self._seed, "student"), loss or CrossEntropy()
        if isinstance(self._learner, StudentLearner):
            return self._learner.fit_supervision(self._X, supervision, loss, seed=seed)
        if not isinstance(loss, CrossEntropy) or supervision.pace is not None:
            raise ConfigError(
                f"recipe: a {type(self._learner).__name__} is trained in one go, so its loss must be xent, without a "
                f"curriculum; got {self._recipe.name}"
            )
        X = take(self._X, supervision.rows)
        return self._learner.fit(X, supervision.targets.soft, supervision.weights, seed=seed)

    def _log_probs(self, fitted: Fitted, rows: Int[Tensor, " rows"]) -> Float[Tensor, "rows classes"]:
        return fitted.log_probs(take(self._X, rows))

    def _features(self, rows: Int[Tensor, " rows"]) -> Float[Tensor, "rows dim"]:
        X = take(self._X, rows)
        if isinstance(self._learner, TextLearner):
            return self._learner.model.features(X)
        if not hasattr(X, "shape"):
            raise ConfigError(
                f"recipe: the selection {self._recipe.selection} compares features, and these rows are no arrays; "
                "choose another selection"
            )
        return torch.from_numpy(np.asarray(X.toarray() if hasattr(X, "toarray") else X, dtype=np.float32))
