"""A saved ensemble that labels prompts, by a class or by generation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ensemw2s.config import CacheConfig, ModelConfig
from ensemw2s.core import voting
from ensemw2s.core.calibration import apply_temperature
from ensemw2s.ensemble.members import SharedTrunk
from ensemw2s.ensemble.write import write_answers
from ensemw2s.errors import ModelError
from ensemw2s.export.ensemble_folder import (
    AGAIN,
    AnswerEnsemble,
    ChoiceEnsemble,
    EnsembleRecord,
    read_ensemble,
    read_ensemble_record,
)
from ensemw2s.models.activations import open_activations, pooled_for_depths
from ensemw2s.models.adapters import Adapter, build_adapter, load_owned
from ensemw2s.models.language import load_answer_model, vocabulary_head
from ensemw2s.models.loading.load import Backbone, load_backbone, load_settings
from ensemw2s.models.loading.positions import positions_of
from ensemw2s.models.loading.tokenizer import load_tokenizer
from ensemw2s.models.probes.classifier import check_classifier
from ensemw2s.prompting import prompt_ids
from ensemw2s.records import Inputs, TensorStore
from ensemw2s.train.loop import predict


@dataclass(frozen=True)
class PromptReader:
    """Reads prompts as a saved ensemble does, without its models."""

    fingerprint: str
    max_length: int
    """Largest number of tokens of a prompt."""
    n_tokens: int
    """Number of tokens that the weak model has an embedding of."""
    tokenizer: PreTrainedTokenizerBase
    expert_weights: Float[Tensor, " experts"]
    record: EnsembleRecord

    def encode(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt."""
        return prompt_ids(self.tokenizer, prompts, chat=self.record.weak.chat)


@dataclass(frozen=True)
class GenerationLabeller(PromptReader):
    """Generates answers with an ensemble that votes on every token.

    It holds no backbone, so that the pretrained layers that the experts' copies replace are freed.
    """

    record: AnswerEnsemble
    members: SharedTrunk

    def label(self, prompts: Sequence[str]) -> list[dict[str, Any]]:
        """Labels of `ensemble.write.write_answers` with the experts' ids and weights and the configuration's hash."""
        # The prompt seeds a row's random draws, so that they depend on nothing else.
        labels = write_answers(
            self.members,
            self.expert_weights,
            self.tokenizer,
            self.encode(prompts),
            self.record.decoding,
            vote=self.record.vote,
            row_ids=list(prompts),
        )
        return [{**label, **_origin(self.record)} for label in labels]


@dataclass(frozen=True)
class ClassLabeller(PromptReader):
    """Labels prompts by the calibrated vote of an ensemble of classifiers."""

    record: ChoiceEnsemble
    backbone: Backbone
    adapters: tuple[Adapter, ...]
    config: ModelConfig
    store: TensorStore

    def label(self, prompts: Sequence[str]) -> list[dict[str, Any]]:
        """Answer, class probabilities, confidence, agreement, members' answers, and the experts' ids and weights."""
        rows = torch.arange(len(prompts))
        inputs = self._inputs(self.encode(prompts))
        members = torch.stack([predict(a, i, rows) for a, i in zip(self.adapters, inputs, strict=True)])
        vote = voting.combine(members, self.expert_weights, vote=self.record.vote)
        probabilities = apply_temperature(vote, self.record.temperature).exp()
        choices = self.record.choices
        agreement = voting.agreement(members, probabilities)
        return [
            {
                "answer": choices[int(p.argmax())],
                "probability": dict(zip(choices, p.tolist(), strict=True)),
                "confidence": float(p.max()),
                "agreement": float(agreement[i]),
                "members": [choices[int(k)] for k in members[:, i].argmax(-1)],
                **_origin(self.record),
            }
            for i, p in enumerate(probabilities)
        ]

    def _inputs(self, token_ids: list[list[int]]) -> list[Inputs]:
        """Inputs of each expert."""
        depths = self.record.depths
        if depths is None:
            cache = CacheConfig(trunk_cache="off")
            inputs = open_activations(self.backbone, token_ids, config=self.config, cache=cache, store=self.store)
            return [inputs] * len(self.adapters)
        layers = [depth or self.backbone.n_layers for depth in depths]
        cache = CacheConfig(trunk_cache="memory")  # one pass over these prompts gives the features of every depth
        features = pooled_for_depths(self.backbone, token_ids, sorted(set(layers)), cache=cache, store=self.store)
        return [features[depth] for depth in layers]


class _NoStore:
    """A store that keeps nothing: activations of prompts that are labelled once are not worth storing."""

    def get(self, kind: str, key: str) -> None:
        return None

    def put(self, kind: str, key: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return tensors

    def replace(self, kind: str, key: str, tensors: dict[str, Tensor]) -> None: ...

    def discard(self, kind: str, key: str) -> None: ...


def saved_template(path: Path) -> str:
    """Prompt template of the ensemble's run. Raises RunError and ModelError as `read_ensemble_record`."""
    return read_ensemble_record(path).prompt


def open_reader(path: Path, *, trusted: str | None = None) -> PromptReader:
    """Open an ensemble for reading prompts alone, for a process whose workers do the labelling.

    Raises:
        RunError, ModelError, ConfigError: as `open_labeller`.
    """
    saved = read_ensemble(path, trusted=trusted)
    settings = load_settings(saved.config)
    longest = saved.max_length(positions_of(settings))
    tokenizer = load_tokenizer(saved.config)
    return PromptReader(saved.fingerprint, longest, settings.vocab_size, tokenizer, saved.weights, saved.record)


def open_labeller(path: Path, *, trusted: str | None = None) -> GenerationLabeller | ClassLabeller:
    """Open the ensemble of a run folder, or of an `ensemble` folder itself, with its models.

    Args:
        path: the folder.
        trusted: repository whose own code may run (`ensemble_folder.read_ensemble`).

    Raises:
        RunError: there is no saved ensemble, or its files are damaged.
        ModelError: its record is wrong, or the weak model is not the one that the experts were trained on.
        ConfigError: `trusted` is not the weak model.
    """
    saved = read_ensemble(path, trusted=trusted)
    folder, record, config = saved.folder, saved.record, saved.config
    backbone = load_backbone(config)
    if backbone.fingerprint != record.weak_fingerprint:
        raise ModelError(
            f"{config.model}: these are not the weights that the experts of {folder} were trained on "
            f"({backbone.fingerprint[:12]}, not {record.weak_fingerprint[:12]}); restore that model"
        )
    longest = saved.max_length(backbone.positions)
    common = (saved.fingerprint, longest, backbone.n_tokens, backbone.tokenizer, saved.weights)
    try:
        if isinstance(record, AnswerEnsemble):
            head = vocabulary_head(backbone)
            models = [load_answer_model(backbone, head, config, state) for state in saved.states]
            return GenerationLabeller(*common, record, SharedTrunk(backbone, models))
        if too_deep := [depth for depth in record.depths or () if depth is not None and depth > backbone.n_layers]:
            raise ModelError(f"an expert reads after {too_deep[0]} layers, and the model has {backbone.n_layers}")
        check_classifier(config, backbone, _NoStore(), is_exported=False)
        adapters = tuple(_adapter(config, backbone, len(record.choices), state) for state in saved.states)
    except ModelError as error:
        raise ModelError(f"{folder}: its experts do not fit the model {config.model}: {error}; {AGAIN}") from None
    return ClassLabeller(*common, record, backbone, adapters, config, _NoStore())


def _adapter(config: ModelConfig, backbone: Backbone, n_classes: int, state: dict[str, Tensor]) -> Adapter:
    adapter = build_adapter(config, backbone, n_classes, dropout=0.0, init_std=0.0, generator=torch.Generator())
    load_owned(adapter, state)
    return adapter.eval()


def _origin(record: EnsembleRecord) -> dict[str, Any]:
    return {
        "expert_ids": list(record.expert_ids),
        "expert_weights": list(record.expert_weights),
        "config_hash": record.config_hash,
    }
