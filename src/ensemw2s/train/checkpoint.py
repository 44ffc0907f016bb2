"""Snapshots of a training in progress, as plain tensors, including the state of the random stream."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ensemw2s.distributed import launch
from ensemw2s.records import TensorStore
from ensemw2s.train.random_state import random_state, set_random_state

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True)
class Checkpointer:
    """Keeps the newest snapshot of one training in the store."""

    store: TensorStore
    key: str

    def load(self) -> dict[str, Tensor] | None:
        """The newest snapshot, None where there is none."""
        return self.store.get("checkpoints", self.key)

    def save(self, state: dict[str, Tensor]) -> None:
        """Replace the snapshot."""
        self.store.replace("checkpoints", self.key, state)

    def clear(self) -> None:
        """Remove the snapshot of a finished training."""
        self.store.discard("checkpoints", self.key)


def snapshot(module: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> dict[str, Tensor]:
    """Everything that the next step depends on, unsharded, so that any number of processes can resume it."""
    state = {"step": torch.tensor(step), **random_state()}
    for name, parameter in owned_parameters(module):
        state[f"parameter/{name}"] = launch.whole(parameter.detach())
        # A weight that no gradient has reached has no moments.
        moments = optimizer.state.get(parameter, {})
        state |= {f"{moment}/{name}": launch.whole(moments[moment]) for moment in _MOMENTS if moment in moments}
    return state


def restore(module: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Tensor]) -> int:
    """Load a snapshot into module and optimiser. Returns the number of steps done."""
    with torch.no_grad():
        for name, parameter in owned_parameters(module):
            parameter.copy_(launch.like(state[f"parameter/{name}"].to(parameter.device), parameter))
            moments = {m: state[f"{m}/{name}"].to(parameter.device) for m in _MOMENTS if f"{m}/{name}" in state}
            if moments:
                optimizer.state[parameter] = {
                    m: (value if m == "step" else launch.like(value, parameter)).clone() for m, value in moments.items()
                }
    if launch.rank() == 0:
        set_random_state(state)
    else:  # only the main process's stream is saved; the others start a new one
        torch.manual_seed(torch.initial_seed() + int(state["step"]))
    return int(state["step"])


def owned_parameters(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """The trained parameters, by name."""
    return [(name, p) for name, p in module.named_parameters() if p.requires_grad]
