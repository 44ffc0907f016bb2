"""The folder of a saved ensemble: one typed record and one file of tensors, written and read here."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ensemw2s.config import ModelConfig, canonical_hash
from ensemw2s.core.gating import Gate
from ensemw2s.errors import ConfigError, ModelError, RunError
from ensemw2s.export.ensembles.ensemble_record import KINDS, TAGS, AnswerEnsemble, EnsembleRecord, SavedModel
from ensemw2s.export.ensembles.saved_gate import AGAIN, gate_tensors, taken_gate
from ensemw2s.export.exported import CARD
from ensemw2s.export.student import check_template
from ensemw2s.storage import checksums
from ensemw2s.storage.files import write_atomic
from ensemw2s.storage.records import read_small, wrong_fields

RECORD, TENSORS = "ensemble.json", "experts.safetensors"
SCALE = ("scale", "head.scale")
"""Names of the scales of features. A feature that a member does not read has an infinite scale; no other tensor may
hold infinite values."""


@dataclass(frozen=True)
class SavedEnsemble:
    """Content of an ensemble's folder."""

    folder: Path
    record: EnsembleRecord
    states: tuple[dict[str, Tensor], ...]
    """Trained parameters of each expert."""
    models: tuple[SavedModel, ...]
    """The experts' models, with the code that the caller trusts."""
    fingerprint: str
    gate: Gate | None = None
    """Of `vote: gated`."""

    @property
    def model_of(self) -> tuple[int, ...]:
        """Which of `models` each expert reads."""
        return self.record.models or (0,) * len(self.states)

    @property
    def experts_of(self) -> tuple[tuple[int, ...], ...]:
        """The experts of each of `models`."""
        return tuple(tuple(t for t, of in enumerate(self.model_of) if of == k) for k in range(len(self.models)))

    @property
    def voting_order(self) -> tuple[int, ...]:
        """Of the experts by model, one model's after the other's: which one votes first, second and so on."""
        by_model = [t for own in self.experts_of for t in own]
        return tuple(by_model.index(t) for t in range(len(by_model)))

    @property
    def weights(self) -> Float[Tensor, " experts"]:
        return torch.tensor(self.record.expert_weights)

    def max_length(self, config: ModelConfig, positions: int | None) -> int:
        """Largest number of tokens of a prompt, for one of the models, which has so many positions."""
        longest = config.max_length if positions is None else min(config.max_length, positions)
        n_generated = self.record.decoding.max_new_tokens if isinstance(self.record, AnswerEnsemble) else 0
        return longest - n_generated


def write_ensemble(
    folder: Path, record: EnsembleRecord, states: list[dict[str, Tensor]], gate: Gate | None = None, card: str = ""
) -> None:
    """Save an ensemble. The checksums are written last, so that a half-replaced folder is detected.

    Args:
        gate: of a gated vote.
        card: text of README.md; without one there is none.

    Raises:
        RunError: the disk refuses.
    """
    tensors = {f"expert{i}/{name}": t.contiguous() for i, state in enumerate(states) for name, t in state.items()}
    tensors |= {} if gate is None else gate_tensors(gate)
    for name, content in ((TENSORS, save(tensors)), (RECORD, record.text())):
        write_atomic(folder / name, content)
    if card:
        write_atomic(folder / CARD, card)
    write_atomic(folder / checksums.FILE, checksums.checksums_of(folder, (RECORD, TENSORS)))


def ensemble_folder(path: Path) -> Path:
    """The ensemble of a run folder, or the folder itself."""
    return path / "ensemble" if (path / "ensemble").is_dir() else path


def read_ensemble_record(path: Path) -> EnsembleRecord:
    """Read the record that `write_ensemble` wrote.

    Raises:
        RunError: there is no saved ensemble.
        ModelError: its record is not one; every wrong field is named.
    """
    file = ensemble_folder(path) / RECORD
    try:
        if not file.is_file():
            raise RunError(f"{path}: no saved ensemble there ({RECORD} is missing); name the folder of a finished run")
        record = KINDS.validate_json(read_small(file))
    except ValidationError as error:
        faults = wrong_fields(error, tags=TAGS)
        raise ModelError(f"{file}: not the record of an ensemble ({faults}); {AGAIN}") from None
    except OSError as error:
        raise RunError(f"{file}: cannot be read ({error.strerror}); check its permissions") from None
    check_template(record.prompt, file)
    return record


def read_ensemble(path: Path, *, trusted: str | None = None) -> SavedEnsemble:
    """Read a saved ensemble without its model.

    Args:
        path: a run folder, or the folder of the ensemble.
        trusted: repository whose own code may run, as named by the user; it must be the experts' model.

    Raises:
        RunError: there is none, or its files are not as they were saved.
        ModelError: a field of its record, or a tensor, is wrong.
        ConfigError: `trusted` is not the experts' model.
    """
    record, folder = read_ensemble_record(path), ensemble_folder(path)
    tensors = _read_tensors(path, folder)
    gate = taken_gate(folder / TENSORS, tensors, len(record.expert_ids)) if record.vote == "gated" else None
    states = _states(folder, tensors, len(record.expert_ids))
    if fault := checksums.folder_fault(folder, required=(RECORD, TENSORS)):
        raise RunError(f"{folder}: the saved ensemble is damaged ({fault}); {AGAIN}")
    first = SavedModel(config=record.weak, fingerprint=record.weak_fingerprint)
    models = (first, *record.others)
    names = list(dict.fromkeys(model.config.model for model in models))
    if trusted not in (None, *names):
        which = f"model is {names[0]!r}" if len(names) == 1 else f"models are {', '.join(map(repr, names))}"
        raise ConfigError(
            f"--trust-remote-code-from: got {trusted!r}, and the experts' {which}; give that, or leave it out"
        )
    trusting = tuple(_trusting(model, trusted) for model in models)
    experts = (checksums.listed(folder) or {})[TENSORS]["sha256"]
    # Younger fields count only where they are used, so that labels that were begun go on.
    unused = {name for name in ("contexts", "is_prompted") if not getattr(record, name, None)}
    whole = canonical_hash({"record": record.model_dump(mode="json", exclude=unused), "experts": experts})
    return SavedEnsemble(folder, record, states, trusting, whole, gate)


def _trusting(model: SavedModel, trusted: str | None) -> SavedModel:
    code = trusted if trusted == model.config.model else None
    return model.model_copy(update={"config": model.config.model_copy(update={"trust_remote_code_from": code})})


def _read_tensors(path: Path, folder: Path) -> dict[str, Tensor]:
    file = folder / TENSORS
    if not file.is_file():
        raise RunError(f"{path}: no saved ensemble there ({TENSORS} is missing); name the folder of a finished run")
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"{folder}: the saved ensemble is damaged ({TENSORS}: {reason}); {AGAIN}") from None


def _states(folder: Path, tensors: dict[str, Tensor], n_experts: int) -> tuple[dict[str, Tensor], ...]:
    """Tensors by expert. Raises ModelError where one is of no expert, or has values that are no numbers."""
    states: list[dict[str, Tensor]] = [{} for _ in range(n_experts)]
    known = {f"expert{i}": state for i, state in enumerate(states)}
    for name, tensor in tensors.items():
        expert, _, rest = name.partition("/")
        if expert not in known or not rest:
            raise ModelError(f"{folder / TENSORS}: the tensor {name!r} is of none of {n_experts} experts; {AGAIN}")
        if rest in SCALE and not (tensor > 0).all():
            raise ModelError(f"{folder / TENSORS}: {name}, a scale, has values that are not above 0; {AGAIN}")
        if rest not in SCALE and not tensor.isfinite().all():
            raise ModelError(f"{folder / TENSORS}: {name} has values that are NaN or infinite; {AGAIN}")
        known[expert][rest] = tensor
    return tuple(states)
