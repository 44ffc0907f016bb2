"""What trains experts that classify: the labelled examples of one seed, as boosting weighs them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from ensemw2s.config import TrainConfig
from ensemw2s.core.boosting import chance_error
from ensemw2s.core.metrics import accuracy
from ensemw2s.ensemble.fit import EnsembleState, FittedExpert, Spent, Weak, fit_expert, held_out_errors
from ensemw2s.ensemble.methods import Draw, Samples, make_method
from ensemw2s.forms.classification.prepare import ClassPrepared
from ensemw2s.forms.classification.role import ClassRole
from ensemw2s.forms.classification.tfidf import TfidfRole
from ensemw2s.forms.classification.weak.contexts import SeedContexts
from ensemw2s.storage.store import Artifact
from ensemw2s.train.samples import Validation, chosen_by
from ensemw2s.training_end import TrainingEnd


@dataclass(frozen=True)
class ClassTrainer:
    """The labelled examples of one seed, for one weak model."""

    prepared: ClassPrepared
    role: ClassRole | TfidfRole
    weak: Weak
    training: TrainConfig
    validation: Validation | None

    beside: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What else decides an expert."""
    contexts: SeedContexts | None = None
    """What members read before each question; None where none does."""

    judges_apart = False

    @property
    def n_samples(self) -> int:
        return len(self.weak.rows)

    def draw(self, state: EnsembleState) -> Draw:
        samples = Samples(state.sample_weights, self.n_samples)
        return state.next_draw(self.prepared.config.ensemble, samples, state.next_stream)

    def deciding(self, state: EnsembleState, draw: Draw) -> dict[str, Any]:
        view = state.next_view(self.prepared.config.ensemble, self.weak.n_layers)
        return {
            "data": self.prepared.fingerprint,
            "rows": self.weak.rows.tolist(),
            "weak": self.role.fingerprint,
            "validation": chosen_by(self.validation, self.training),
            **self.beside,
            "view": view.deciding,
            **({} if view.context is None else self._in_context(state.method, view.context)),
        }

    def _in_context(self, method: str, context: int) -> dict[str, Any]:
        """What of its context decides an expert, and of the asking where nothing is trained."""
        assert self.contexts is not None, "refused with the settings where there are no contexts"
        settings = self.prepared.config.ensemble
        asked = {} if make_method(method, settings).learns else {"asked": settings.context.calibrate}
        return {"context": self.contexts.deciding(context), **asked}

    def fit(self, state: EnsembleState) -> Artifact:
        fitted = fit_expert(self.weak, state, self.prepared.config.ensemble)
        tensors = {f"state/{name}": t for name, t in fitted.state.items()}
        tensors |= {"log_probs": fitted.log_probs, "is_wrong": fitted.is_wrong}
        return Artifact(tensors, fitted.record)

    def fitted(self, artifact: Artifact, state: EnsembleState) -> FittedExpert:
        tensors = artifact.tensors
        view = state.next_view(self.prepared.config.ensemble, self.weak.n_layers)
        spent, end = Spent.of(artifact.record), TrainingEnd.of(artifact.record)
        return FittedExpert(artifact.state, tensors["log_probs"], tensors["is_wrong"], spent, view, end)

    def errors(self, fitted: FittedExpert) -> Bool[Tensor, " samples"]:
        return fitted.is_wrong

    def held_out_errors(self, state: EnsembleState) -> tuple[Bool[Tensor, " samples"], Spent]:
        return held_out_errors(self.weak, state, self.prepared.config.ensemble)

    def judging(self) -> dict[str, Any]:
        return {"groups": list(self.weak.group_ids)}

    def prior_error(self) -> float:
        prior = self.prepared.config.ensemble.prior
        if prior == "chance":
            return chance_error(self.weak.n_classes)
        if prior == "unigram":
            return 1.0 - float(torch.bincount(self.weak.labels).max()) / self.n_samples
        if prior == "pretrained":
            assert isinstance(self.role, ClassRole), "checked with the settings"
            log_probs = self.role.zero_shot(self.prepared.task.choices, self.weak.rows)
            return min(max(1.0 - accuracy(log_probs, self.weak.labels), 1e-6), 1.0 - 1e-6)
        return prior
