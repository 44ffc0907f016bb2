"""A saved ensemble as something that labels prompts, whether by a class or in words."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ensemw2s.config import CacheConfig, DecodingConfig, ModelConfig, canonical_hash
from ensemw2s.core import voting
from ensemw2s.core.calibration import apply_temperature
from ensemw2s.ensemble.members import SharedTrunk
from ensemw2s.ensemble.write import write_answers
from ensemw2s.errors import ModelError, RunError
from ensemw2s.experiment.label_shard import Labeller, Reader
from ensemw2s.models.activations import open_activations, pooled_for_depths
from ensemw2s.models.adapters import Adapter, build_adapter, load_owned
from ensemw2s.models.language import load_answer_model, vocabulary_head
from ensemw2s.models.load import Backbone, load_backbone, load_tokenizer
from ensemw2s.models.probes.classifier import check_classifier
from ensemw2s.prompting import Prompting, prompt_ids
from ensemw2s.train.loop import predict
from ensemw2s.types import Inputs, TensorStore


@dataclass(frozen=True)
class _Saved:
    """What every saved ensemble has."""

    fingerprint: str
    max_length: int
    tokenizer: PreTrainedTokenizerBase
    expert_weights: Float[Tensor, " experts"]
    record: dict[str, Any]

    def encode(self, prompts: Sequence[str]) -> list[list[int]]:
        return prompt_ids(self.tokenizer, prompts, chat=self.record["weak"].get("chat", False))


@dataclass(frozen=True)
class WordLabeller(_Saved):
    """Writes the answers of an ensemble that decides together at every token.

    It holds no backbone: the pretrained layers that the experts' own copies replace are freed.
    """

    members: SharedTrunk
    decoding: DecodingConfig

    def label(self, prompts: Sequence[str]) -> list[dict[str, Any]]:
        """As `ensemble.write.write_answers`, with the experts' ids and weights and the configuration's hash."""
        # A row is known by its prompt: its draws, too, depend on nothing but itself.
        found = write_answers(
            self.members,
            self.expert_weights,
            self.tokenizer,
            self.encode(prompts),
            self.decoding,
            vote=self.record["vote"],
            row_ids=list(prompts),
        )
        return [{**label, **_origin(self.record)} for label in found]


@dataclass(frozen=True)
class ClassLabeller(_Saved):
    """Gives the calibrated vote of an ensemble of classifiers."""

    backbone: Backbone
    adapters: tuple[Adapter, ...]
    config: ModelConfig
    store: TensorStore

    def label(self, prompts: Sequence[str]) -> list[dict[str, Any]]:
        """answer, probability per class, confidence, agreement, members (each expert's own answer) and their origin."""
        rows = torch.arange(len(prompts))
        inputs = self._inputs(self.encode(prompts))
        members = torch.stack([predict(a, i, rows) for a, i in zip(self.adapters, inputs, strict=True)])
        vote = voting.combine(members, self.expert_weights, vote=self.record["vote"])
        probabilities = apply_temperature(vote, self.record["temperature"]).exp()
        choices: list[str] = self.record["choices"]
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
        """What each expert reads."""
        depths: list[int | None] | None = self.record.get("depths")
        if depths is None:
            cache = CacheConfig(trunk_cache="off")
            inputs = open_activations(self.backbone, token_ids, config=self.config, cache=cache, store=self.store)
            return [inputs] * len(self.adapters)
        own = [depth or self.backbone.n_layers for depth in depths]
        cache = CacheConfig(trunk_cache="memory")  # of the prompts at hand: one pass gives every depth
        found = pooled_for_depths(self.backbone, token_ids, sorted(set(own)), cache=cache, store=self.store)
        return [found[depth] for depth in own]


class _NoStore:
    """Prompts that are labelled once are not worth keeping the activations of."""

    def get(self, kind: str, key: str) -> None:
        return None

    def put(self, kind: str, key: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return tensors

    def replace(self, kind: str, key: str, tensors: dict[str, Tensor]) -> None: ...

    def discard(self, kind: str, key: str) -> None: ...


def saved_template(path: Path) -> str:
    """What the prompts of the ensemble's run were made by; RunError where there is no saved ensemble."""
    folder = path / "ensemble" if (path / "ensemble").is_dir() else path
    try:
        record = json.loads((folder / "ensemble.json").read_text(encoding="utf-8"))
        return str(record.get("prompt", Prompting.template))
    except (OSError, ValueError, AttributeError):
        open_labeller(path)  # says what is wrong
        raise


@dataclass(frozen=True)
class _Files:
    """A saved ensemble as it lies in its folder."""

    folder: Path
    record: dict[str, Any]
    tensors: dict[str, Tensor]
    config: ModelConfig
    weights: Float[Tensor, " experts"]
    fingerprint: str

    @property
    def is_free(self) -> bool:
        """Whether it answers in words."""
        return self.record.get("answer_form") == "free"

    @property
    def decoding(self) -> DecodingConfig:
        return DecodingConfig.model_validate(self.record["decoding"])

    @property
    def max_length(self) -> int:
        """Tokens of a prompt."""
        return self.config.max_length - (self.decoding.max_new_tokens if self.is_free else 0)


def _files(path: Path) -> _Files:
    folder = path / "ensemble" if (path / "ensemble").is_dir() else path
    try:
        record = json.loads((folder / "ensemble.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "experts.safetensors")
        config = ModelConfig.model_validate(record["weak"])
        digest = hashlib.sha256((folder / "experts.safetensors").read_bytes()).hexdigest()
        weights = torch.tensor(record["expert_weights"])
    except FileNotFoundError as error:
        raise RunError(
            f"{path}: no saved ensemble there ({Path(error.filename).name} is missing); name the folder of a "
            "finished run"
        ) from None
    except (ValueError, KeyError, TypeError, OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"{folder}: the saved ensemble is damaged ({reason}); run its experiment again") from None
    return _Files(folder, record, tensors, config, weights, canonical_hash({"record": record, "experts": digest}))


def open_reader(path: Path) -> Reader:
    """What reads prompts as that ensemble does, without its models: for a process that lets others label.

    Raises:
        RunError, ModelError: as `open_labeller`.
    """
    files = _files(path)
    return _Saved(files.fingerprint, files.max_length, load_tokenizer(files.config), files.weights, files.record)


def open_labeller(path: Path) -> Labeller:
    """The ensemble of a run folder, or of an `ensemble` folder itself.

    Raises:
        RunError: there is no saved ensemble, or its files are damaged.
        ModelError: the weak model is not the one that the experts were trained on.
    """
    files = _files(path)
    folder, record, config, weights = files.folder, files.record, files.config, files.weights
    backbone = load_backbone(config)
    if backbone.fingerprint != record["weak_fingerprint"]:
        raise ModelError(
            f"{config.model}: these are not the weights that the experts of {folder} were trained on "
            f"({backbone.fingerprint[:12]}, not {record['weak_fingerprint'][:12]}); restore that model"
        )
    states: list[dict[str, Tensor]] = [{} for _ in weights]
    for name, tensor in files.tensors.items():
        expert, _, rest = name.partition("/")
        states[int(expert.removeprefix("expert"))][rest] = tensor
    saved = (files.fingerprint, files.max_length, backbone.tokenizer, weights, record)
    if files.is_free:
        unembedding = vocabulary_head(backbone)
        members = SharedTrunk(backbone, [load_answer_model(backbone, unembedding, config, s) for s in states])
        return WordLabeller(*saved, members, files.decoding)
    check_classifier(config, backbone, _NoStore(), is_exported=False)
    adapters = []
    for state in states:
        adapter = build_adapter(
            config, backbone, len(record["choices"]), dropout=0.0, init_std=0.0, generator=torch.Generator()
        )
        load_owned(adapter, state)
        adapters.append(adapter.eval())
    return ClassLabeller(*saved, backbone, tuple(adapters), config, _NoStore())


def _origin(record: dict[str, Any]) -> dict[str, Any]:
    return {name: record[name] for name in ("expert_ids", "expert_weights", "config_hash")}
