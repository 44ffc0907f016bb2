"""The gate of a saved ensemble, among its tensors."""

from dataclasses import fields
from pathlib import Path

import torch
from torch import Tensor

from ensemw2s.core.gating import Gate
from ensemw2s.errors import ModelError

AGAIN = "run its experiment again, which exports it anew"


def gate_tensors(gate: Gate) -> dict[str, Tensor]:
    """The gate's tensors by name."""
    return {f"gate/{name}": tensor.contiguous() for name, tensor in vars(gate).items()}


def taken_gate(file: Path, tensors: dict[str, Tensor], n_experts: int) -> Gate:
    """The gate over so many experts, taken out of a file's tensors. Raises ModelError where it is none."""
    weight, mean, scale = parts = [tensors.pop(f"gate/{field.name}", torch.empty(0)) for field in fields(Gate)]
    if mean.ndim != 1 or not len(mean) or scale.shape != mean.shape or weight.shape != (n_experts, len(mean)):
        shapes = ", ".join(str(list(part.shape)) for part in parts)
        raise ModelError(
            f"{file}: a gate over {n_experts} experts needs weight, mean and scale of one feature, got the shapes "
            f"{shapes}; {AGAIN}"
        )
    if not all(part.isfinite().all() for part in parts) or not (scale > 0).all():
        raise ModelError(f"{file}: the gate has values that are NaN or infinite, or a scale that is 0; {AGAIN}")
    return Gate(weight, mean, scale)
