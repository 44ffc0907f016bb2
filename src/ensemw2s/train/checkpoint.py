"""Snapshots of a training in progress: plain tensors, never pickled objects, and complete to the last random draw."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ensemw2s.types import TensorStore

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True)
class Checkpointer:
    """Keeps the newest snapshot of one training under its own key."""

    store: TensorStore
    key: str

    def load(self) -> dict[str, Tensor] | None:
        return self.store.get("checkpoints", self.key)

    def save(self, state: dict[str, Tensor]) -> None:
        self.store.replace("checkpoints", self.key, state)

    def clear(self) -> None:
        self.store.discard("checkpoints", self.key)


def snapshot(module: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> dict[str, Tensor]:
    """Everything that the next step depends on."""
    state = {"step": torch.tensor(step), "rng": torch.get_rng_state()}
    for name, parameter in _owned(module):
        state[f"parameter/{name}"] = parameter.detach()
        # A weight that no gradient has reached has no moments.
        moments = optimizer.state.get(parameter, {})
        state |= {f"{moment}/{name}": moments[moment] for moment in _MOMENTS if moment in moments}
    return state


def restore(module: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Tensor]) -> int:
    """Put a snapshot back; returns the number of steps done."""
    with torch.no_grad():
        for name, parameter in _owned(module):
            parameter.copy_(state[f"parameter/{name}"])
            if moments := {m: state[f"{m}/{name}"].clone() for m in _MOMENTS if f"{m}/{name}" in state}:
                optimizer.state[parameter] = moments
    torch.set_rng_state(state["rng"].clone())
    return int(state["step"])


def _owned(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, p) for name, p in module.named_parameters() if p.requires_grad]
