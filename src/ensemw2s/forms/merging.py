"""The experts of an ensemble as one model: what both forms of answers share of merging them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ensemw2s.config import EnsembleConfig, ModelConfig, canonical_hash
from ensemw2s.core.merging import Merge
from ensemw2s.core.seeds import stream_seed
from ensemw2s.ensemble.label import Ensemble
from ensemw2s.models.adapting.merging import MergedChange, State, merged_change, merged_model
from ensemw2s.results import Cost
from ensemw2s.results.conditions import merged
from ensemw2s.storage.store import artifact_key

MERGE_VERSION = 1
SCALES = (1.0, 0.5, 1.5)
"""How much of the merged change is tried on easy validation data; of equals the first is taken."""
DIGITS = 6
"""Decimals that figures are compared by: a linear head's scale is undone by the temperature, and differs in noise."""


@dataclass(frozen=True)
class Merged:
    """The model that a merge made of an ensemble's voting experts."""

    ensemble: Ensemble
    """Of this one model."""
    model: ModelConfig
    """Its settings, in which low-rank updates have a rank of their own."""
    voters: Any
    """The model as the one who answers, in the form's own terms."""
    cost: Cost
    """Training the experts and choosing how many, trying the scales, and one model's evaluation."""
    key: str
    """Of its artifact."""


@dataclass(frozen=True)
class Merging:
    """One merge of one ensemble."""

    made: Ensemble
    name: str
    model: ModelConfig
    """Of the experts."""

    @property
    def settings(self) -> EnsembleConfig:
        return self.made.config

    @property
    def merge(self) -> Merge:
        return self.settings.make_merge(self.name)

    @property
    def merged_model(self) -> ModelConfig:
        return merged_model(self.model, len(self.made.voting))

    @property
    def seed(self) -> int:
        """Of its random stream."""
        return stream_seed(self.made.seed, "merge", self.name, self.made.method)

    def key(self, **evaluated: Any) -> str:
        """In the store: what decides the model, and what it is evaluated on."""
        return artifact_key(
            MERGE_VERSION,
            {
                "experts": list(self.made.keys[: self.made.selected]),
                "weights": self.made.weights(self.made.selected).tolist(),
                "merge": [self.name, asdict(self.merge)],  # pyright: ignore[reportArgumentType]
                "seed": self.seed,
                "scales": list(SCALES),
                "by_accuracy": self.by_accuracy,
                "evaluated": canonical_hash(evaluated),
            },
        )

    @property
    def by_accuracy(self) -> bool:
        """What chooses the scale: accuracy on easy validation data, or the likelihood of its true answers."""
        return self.settings.select_by == "accuracy"

    def change(self, start: State) -> MergedChange:
        """Of the voting experts."""
        states, weights = [expert.state for expert in self.made.voting], self.made.weights(self.made.selected)
        return merged_change(states, start, weights, self.merge, self.model, seed=self.seed)

    def ensemble(self, state: dict[str, Tensor], log_probs: Tensor, temperature: float, key: str) -> Ensemble:
        """The model as an ensemble of one."""
        # How it was trained is what its experts say; nothing asks one model's errors and weights.
        one = replace(
            self.made.voting[0],
            seed=self.seed,
            state=state,
            log_probs=log_probs,
            expert_weight=1.0,
            end=None,
            validations=0,
            considered=(),
        )
        name = merged(self.made.method, self.name).key
        return replace(
            self.made, method=name, experts=(one,), selected=1, temperature=temperature, gate=None, keys=(key,)
        )


def best_scale(figures: Sequence[float]) -> float:
    """The scale of the best figure, in the order of `SCALES`."""
    rounded = [round(figure, DIGITS) for figure in figures]
    return SCALES[max(range(len(SCALES)), key=rounded.__getitem__)]


def no_log_probs() -> Tensor:
    """Of a model that was not asked: in words, answers are scored when they are needed."""
    return torch.empty(0, 1)
