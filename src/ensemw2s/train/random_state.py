"""The random streams that dropout draws from: PyTorch's own on the CPU, and on the GPU where there is one."""

import torch
from torch import Tensor


def random_state() -> dict[str, Tensor]:
    """Their state, for `set_random_state` and for snapshots."""
    state = {"rng": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["rng/gpu"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Tensor]) -> None:
    """Go on from a `random_state`, which may hold more than that. A device that it does not know keeps its own."""
    torch.set_rng_state(state["rng"].clone())
    if torch.cuda.is_available() and "rng/gpu" in state:
        torch.cuda.set_rng_state(state["rng/gpu"].clone())
