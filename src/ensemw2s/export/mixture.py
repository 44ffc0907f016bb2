"""Mixtures of low-rank updates in the folder of a student: beside the weights, which cannot hold them."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from ensemw2s.errors import ModelError
from ensemw2s.export.exported import AGAIN
from ensemw2s.models.adapting.mixture import MIXTURE, MixtureLinear, mixture_tensors, put_back

ACTIVE = "n_active"


def save_mixtures(folder: Path, mixtures: Mapping[str, MixtureLinear]) -> None:
    """Write a student's mixtures, by their place in the model that the folder's weights make; nothing without any."""
    if mixtures:
        (active,) = {mixture.n_active for mixture in mixtures.values()}
        save_file(dict(mixture_tensors(mixtures)), folder / MIXTURE, metadata={ACTIVE: str(active)})


def load_mixtures(folder: Path, model: nn.Module) -> None:
    """Put the folder's mixtures, if any, on the model of its weights. Raises ModelError where they do not fit."""
    if not (folder / MIXTURE).exists():
        return
    try:
        with safe_open(folder / MIXTURE, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
            active = int((file.metadata() or {})[ACTIVE])
        put_back(model, tensors, active)
    except (SafetensorError, ModelError, KeyError, ValueError) as error:
        raise ModelError(f"{folder / MIXTURE}: cannot be read: {error}; {AGAIN}") from None
