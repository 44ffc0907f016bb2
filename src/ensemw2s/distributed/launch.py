"""The processes of one launch (`accelerate launch`, torchrun), each with a device of its own; alone, nothing changes.

All of them run the same program on the same data. In training each takes its part of every batch; what they decide
together (is a unit of work done?) the main process decides, and only it writes. Whether a launch shards what it trains
(FSDP) is its own business (`accelerate launch --use_fsdp`), not the experiment's: results do not depend on it.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import PartialState
from accelerate.utils import broadcast_object_list as broadcast
from accelerate.utils import gather_object, parse_flag_from_env
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

T = TypeVar("T")
_alone = False


def start() -> None:
    """Join the launch that this process belongs to, if there is one: gloo on CPUs, nccl on GPUs, one to a process."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        PartialState(cpu=not torch.cuda.is_available())


def count() -> int:
    """How many processes work together."""
    return dist.get_world_size() if dist.is_initialized() and not _alone else 1


def rank() -> int:
    """This one's number; 0 is the main one."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_sharded() -> bool:
    """Whether trained weights, gradients and moments are spread over the processes."""
    return count() > 1 and parse_flag_from_env("ACCELERATE_USE_FSDP")


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """What this process does meanwhile, the others do not."""
    global _alone
    _alone, before = True, _alone
    try:
        yield
    finally:
        _alone = before


def agreed(value: T) -> T:
    """The main process's value, in all; also waits for it."""
    if count() == 1:
        return value
    values: list[Any] = [value]
    broadcast(values)
    return values[0]


def share(samples: Tensor) -> Tensor:
    """This process's part; parts differ in length by at most 1."""
    return samples if count() == 1 else samples.tensor_split(count())[rank()]


def gathered(part: Tensor) -> Tensor:
    """The parts of all processes, one after another."""
    return part if count() == 1 else torch.cat([p.to(part.device) for p in gather_object([part.cpu()])])


def shard(module: nn.Module, layers: nn.ModuleList | None) -> None:
    """Spread the module's weights over the processes, layer by layer; its gradients are sums over all of them."""
    mesh = init_device_mesh("cuda" if torch.cuda.is_available() else "cpu", (count(),))
    parts = [*(layers or ()), module]
    for part in parts:
        fully_shard(part, mesh=mesh)
    for part in parts:
        assert isinstance(part, FSDPModule)
        part.set_gradient_divide_factor(1.0)
        part.set_force_sum_reduction_for_comms(True)  # gloo can do no other
    for name in ("hidden", "pooled"):  # what is called beside `forward`
        if hasattr(module, name):
            register_fsdp_forward_method(module, name)


def sum_gradients(module: nn.Module) -> None:
    """Add up what the processes found in their parts of a batch: one exchange for all weights."""
    if count() == 1 or isinstance(module, FSDPModule):
        return
    owned = [p for p in module.parameters() if p.requires_grad]
    # A weight that one process's rows did not reach has no gradient there.
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in owned])
    dist.all_reduce(flat)
    for parameter, summed in zip(owned, flat.split([p.numel() for p in owned]), strict=True):
        parameter.grad = summed.view_as(parameter)


def whole(tensor: Tensor) -> Tensor:
    """The tensor of which a process may have a part only; all must ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(tensor: Tensor, other: Tensor) -> Tensor:
    """A whole tensor, spread as `other` is."""
    return distribute_tensor(tensor, other.device_mesh, other.placements) if isinstance(other, DTensor) else tensor


def gather_back(module: nn.Module) -> None:
    """Let go of weights that the last pass brought together, so that each process has its own part again."""
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()
