"""Run folders with a student and an ensemble of untrained members that differ, made without a run."""

from pathlib import Path

import torch

from ensemw2s.config import DecodingConfig, ModelConfig
from ensemw2s.core.seeds import stream
from ensemw2s.export.answerer import export_language
from ensemw2s.export.classifier import export_student
from ensemw2s.export.ensembles.ensemble_folder import write_ensemble
from ensemw2s.export.ensembles.ensemble_record import AnswerEnsemble, ChoiceEnsemble, EnsembleRecord
from ensemw2s.models.adapting.adapters import build_adapter, owned_state
from ensemw2s.models.language import AnswerModel, vocabulary_head
from ensemw2s.models.loading.load import load_backbone

PROMPT = "Question: {{ q }}\nAnswer:"
CHOICES = ("no", "yes", "it depends")
DECODING = DecodingConfig(max_new_tokens=12, stop=("\n",))


def words_run(folder: Path, n_experts: int = 3, **decoding: object) -> Path:
    """A run of a task that is answered in words; its student is the first of its experts."""
    config = ModelConfig(model="tiny", adapter="top", top_layers=1, n_layers=2, dtype="float32", max_length=96)
    how = DECODING.model_copy(update=decoding)
    backbone = load_backbone(config)
    head = vocabulary_head(backbone)
    states = [
        owned_state(AnswerModel(backbone, head, config, init_noise=0.5, generator=stream(i, "noise")))
        for i in range(n_experts)
    ]
    export_language(
        folder / "student",
        config=config,
        backbone=backbone,
        unembedding=head,
        state=states[0],
        decoding=how,
        card="",
        template=PROMPT,
    )
    record = AnswerEnsemble(vote="soft", decoding=how, **_common(config, backbone.fingerprint, n_experts))
    return _written(folder, record, states)


def classes_run(folder: Path, n_experts: int = 3) -> Path:
    """A run of a task that is answered by a class."""
    config = ModelConfig(model="tiny", n_layers=2, dtype="float32", max_length=96)
    backbone = load_backbone(config)
    adapters = [
        build_adapter(config, backbone, len(CHOICES), dropout=0.0, init_std=1.0, generator=stream(i, "noise"))
        for i in range(n_experts + 1)
    ]
    states = [owned_state(adapter) for adapter in adapters]
    export_student(
        folder / "student",
        config=config,
        backbone=backbone,
        state=states[-1],
        choices=CHOICES,
        card="",
        template=PROMPT,
    )
    common = _common(config, backbone.fingerprint, n_experts)
    return _written(folder, ChoiceEnsemble(vote="soft", temperature=1.5, choices=CHOICES, **common), states[:-1])


def questions(n: int) -> list[str]:
    """Of very different lengths."""
    return [f"Is {7 * i % 31} above {i}" + " or so" * (i * 5 % 6) + "?" for i in range(n)]


def _common(config: ModelConfig, fingerprint: str, n_experts: int) -> dict:
    return {
        "method": "boosting",
        "seed": 0,
        "expert_ids": tuple(f"boosting/{i}" for i in range(n_experts)),
        "expert_weights": tuple(1.0 + i / 2 for i in range(n_experts)),
        "prompt": PROMPT,
        "weak": config,
        "weak_fingerprint": fingerprint,
        "config_hash": "0" * 64,
    }


def _written(folder: Path, record: EnsembleRecord, states: list[dict[str, torch.Tensor]]) -> Path:
    (folder / "ensemble").mkdir(parents=True)
    write_ensemble(folder / "ensemble", record, states)
    return folder
