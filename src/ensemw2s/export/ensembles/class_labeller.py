"""A saved ensemble of classifiers that labels prompts: experts on pretrained models, and on words."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ensemw2s.config import CacheConfig, ModelConfig
from ensemw2s.core import voting
from ensemw2s.core.calibration import apply_temperature
from ensemw2s.core.gating import Gate, gated_stages
from ensemw2s.ensemble.learners.prompted import calibrated
from ensemw2s.ensemble.learners.tfidf import TfidfModel
from ensemw2s.export.ensembles.ensemble_record import ChoiceEnsemble
from ensemw2s.export.ensembles.prompt_reader import PromptReader, Tokens, origin_of
from ensemw2s.models.activations import open_activations, pooled_for_depths
from ensemw2s.models.adapting.adapters import Adapter, build_adapter, load_owned
from ensemw2s.models.inputs import PooledInputs
from ensemw2s.models.likelihood import Likelihood
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.pooled import PooledTrunk, Trunk
from ensemw2s.models.vectors import VectorFile
from ensemw2s.prompting import ids_behind
from ensemw2s.records import Inputs
from ensemw2s.train.loop import predict


class NoStore:
    """A store that keeps nothing: activations of prompts that are labelled once are not worth storing."""

    def get(self, kind: str, key: str) -> None:
        return None

    def put(self, kind: str, key: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return tensors

    def replace(self, kind: str, key: str, tensors: dict[str, Tensor]) -> None: ...

    def discard(self, kind: str, key: str) -> None: ...


@dataclass(frozen=True)
class ClassModel:
    """A pretrained model of an ensemble of classifiers, with the experts that read it."""

    tokens: Tokens
    config: ModelConfig
    backbone: Backbone
    adapters: tuple[Adapter, ...]
    depths: tuple[int | None, ...] | None
    """As in `ChoiceEnsemble`, of these experts."""

    def log_probs(self, prompts: Sequence[str]) -> list[Float[Tensor, "prompts classes"]]:
        """Of each expert."""
        rows = torch.arange(len(prompts))
        inputs = self._inputs(self.tokens.encode(prompts))
        return [predict(adapter, each, rows) for adapter, each in zip(self.adapters, inputs, strict=True)]

    def features(self, prompts: Sequence[str]) -> Float[Tensor, "prompts dim"]:
        """The untrained model's pooled feature of each prompt."""
        head = self.config.model_copy(update={"adapter": "head"})
        token_ids, cache = self.tokens.encode(prompts), CacheConfig(trunk_cache="memory")
        inputs = open_activations(self.backbone, token_ids, config=head, cache=cache, store=NoStore())
        return inputs.batch(torch.arange(len(prompts)))[0][:, 0].float()

    def _inputs(self, token_ids: list[list[int]]) -> list[Inputs]:
        """Inputs of each expert."""
        if self.depths is None:
            cache = CacheConfig(trunk_cache="off")
            inputs = open_activations(self.backbone, token_ids, config=self.config, cache=cache, store=NoStore())
            return [inputs] * len(self.adapters)
        layers = [depth or self.backbone.n_layers for depth in self.depths]
        cache = CacheConfig(trunk_cache="memory")  # one pass over these prompts gives the features of every depth
        features = pooled_for_depths(self.backbone, token_ids, sorted(set(layers)), cache=cache, store=NoStore())
        return [features[depth] for depth in layers]


@dataclass(frozen=True)
class PooledModel:
    """A model that gives vectors alone, of a file or of pictures, with the experts that read them."""

    trunk: PooledTrunk
    adapters: tuple[Adapter, ...]
    depths: tuple[int, ...]
    """Of each expert."""
    ids: tuple[str, ...] = ()
    """Of the rows that are asked next: a file's vectors are found by them, and messages name them."""

    def log_probs(self, prompts: Sequence[str]) -> list[Float[Tensor, "prompts classes"]]:
        """Of each expert."""
        found = self._vectors(prompts, sorted(set(self.depths)))
        ones, rows = torch.ones(len(prompts), dtype=torch.long), torch.arange(len(prompts))
        each = (PooledInputs((found[depth],), ones) for depth in self.depths)
        return [predict(adapter, inputs, rows) for adapter, inputs in zip(self.adapters, each, strict=True)]

    def features(self, prompts: Sequence[str]) -> Float[Tensor, "prompts dim"]:
        """The vectors themselves."""
        depth = self.trunk.n_layers
        return self._vectors(prompts, [depth])[depth].float()

    def _vectors(self, prompts: Sequence[str], depths: Sequence[int]) -> dict[int, Float[Tensor, "prompts _"]]:
        ids = self.ids or [f"row-{number}" for number in range(1, len(prompts) + 1)]
        return self.trunk.features(ids, prompts, depths)


@dataclass(frozen=True)
class Asked:
    """An expert that is the model itself, and what calibrates it."""

    likelihood: Likelihood
    offset: Float[Tensor, " classes"]


@dataclass(frozen=True)
class ContextModel:
    """A pretrained model with experts that each read a context before the prompt."""

    tokens: Tokens
    backbone: Backbone
    experts: tuple[Adapter | Asked, ...]
    contexts: tuple[str, ...]
    """Of each expert."""

    def log_probs(self, prompts: Sequence[str]) -> list[Float[Tensor, "prompts classes"]]:
        """Of each expert."""
        return [self._said(*each, prompts) for each in zip(self.experts, self.contexts, strict=True)]

    def _said(self, expert: Adapter | Asked, context: str, prompts: Sequence[str]) -> Float[Tensor, "prompts classes"]:
        prefix, ids = ids_behind(self.tokens.tokenizer, context, prompts, is_causal=self.backbone.is_causal)
        backbone, rows = self.backbone, torch.arange(len(prompts))
        if isinstance(expert, Asked):
            backbone = replace(backbone, pooling=("last",))
            ids = [[*own, *expert.likelihood.shared] for own in ids]
        depth, cache = backbone.n_layers, CacheConfig(trunk_cache="memory")
        features = pooled_for_depths(backbone, ids, [depth], cache=cache, store=NoStore(), prefix=prefix)[depth]
        if isinstance(expert, Asked):
            return calibrated(expert.likelihood(features.batch(rows)[0][:, 0]), expert.offset)
        return predict(expert, features, rows)


@dataclass(frozen=True)
class WordModel:
    """The experts that read words, and no pretrained model."""

    experts: tuple[TfidfModel, ...]

    def log_probs(self, prompts: Sequence[str]) -> list[Float[Tensor, "prompts classes"]]:
        return [expert.log_probs(prompts) for expert in self.experts]


@dataclass(frozen=True)
class ClassLabeller(PromptReader):
    """Labels prompts by the calibrated vote of an ensemble of classifiers."""

    record: ChoiceEnsemble
    models: tuple[ClassModel | ContextModel | WordModel | PooledModel, ...]
    order: tuple[int, ...]
    """Of the experts that the models have, one model's after the other's: which one votes first, second and so on."""
    gate: Gate | None = None

    def naming(self, ids: Sequence[str]) -> "ClassLabeller":
        """The same for rows of these ids, by which vectors of a file are found."""
        models = (replace(each, ids=tuple(ids)) if isinstance(each, PooledModel) else each for each in self.models)
        return replace(self, models=tuple(models))

    def sizes(self, prompts: Sequence[str]) -> list[tuple[int, str]]:
        found = super().sizes(prompts)
        for model in self.models:
            if isinstance(model, PooledModel) and isinstance(vectors := model.trunk, VectorFile):
                found = [
                    (size, reason or vectors.lacks(name)) for (size, reason), name in zip(found, model.ids, strict=True)
                ]
        return found

    def label(self, prompts: Sequence[str]) -> list[dict[str, Any]]:
        """Answer, class probabilities, confidence, agreement, members' answers, and the experts' ids and weights."""
        by_model = [each for model in self.models for each in model.log_probs(prompts)]
        members = torch.stack([by_model[place] for place in self.order])
        probabilities = apply_temperature(self._voted(prompts, members), self.record.temperature).exp()
        choices = self.record.choices
        agreement = voting.agreement(members, probabilities)
        return [
            {
                "answer": choices[int(p.argmax())],
                "probability": dict(zip(choices, p.tolist(), strict=True)),
                "confidence": float(p.max()),
                "agreement": float(agreement[i]),
                "members": [choices[int(k)] for k in members[:, i].argmax(-1)],
                **origin_of(self.record),
            }
            for i, p in enumerate(probabilities)
        ]

    def _voted(
        self, prompts: Sequence[str], members: Float[Tensor, "experts prompts classes"]
    ) -> Float[Tensor, "prompts classes"]:
        if self.record.vote != "gated":
            return voting.combine(members, self.expert_weights, vote=self.record.vote)
        (model,), gate = self.models, self.gate
        assert isinstance(model, ClassModel | PooledModel)
        assert gate is not None, "read with the folder"
        *_, last = gated_stages(members, self.expert_weights, gate.scores(model.features(prompts)))
        return last


def load_adapter(config: ModelConfig, trunk: Trunk, n_classes: int, state: dict[str, Tensor]) -> Adapter:
    """A trained expert. Raises ModelError where the state is not one of this adapter's."""
    adapter = build_adapter(config, trunk, n_classes, dropout=0.0, init_std=0.0, generator=torch.Generator())
    load_owned(adapter, state)
    return adapter.eval()
