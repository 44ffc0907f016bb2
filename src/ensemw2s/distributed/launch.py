"""The processes of one launch (`accelerate launch`, torchrun), each with its own device; a single process needs none.

All processes run the same program on the same data. In training each takes its part of every batch. The main process
alone writes and decides what all must agree on, such as whether a unit of work is done. Whether trained weights are
sharded (FSDP) is decided by the launch (`accelerate launch --use_fsdp`); results do not depend on it.
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
    """Join this process's launch, if any: gloo on CPUs, nccl on GPUs with one GPU for each process."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        PartialState(cpu=not torch.cuda.is_available())


def count() -> int:
    """Number of processes of the launch."""
    return dist.get_world_size() if dist.is_initialized() and not _alone else 1


def rank() -> int:
    """Number of this process; 0 is the main one."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_sharded() -> bool:
    """Whether trained weights, gradients and optimiser moments are sharded over the processes."""
    return count() > 1 and parse_flag_from_env("ACCELERATE_USE_FSDP")


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Within this context the process works by itself, as if it were the only one."""
    global _alone
    _alone, before = True, _alone
    try:
        yield
    finally:
        _alone = before


def agreed(value: T) -> T:
    """Broadcast the main process's value to all; also a barrier."""
    if count() == 1:
        return value
    values: list[Any] = [value]
    broadcast(values)
    return values[0]


def share(samples: Tensor) -> Tensor:
    """This process's part of the samples; parts differ in length by at most 1."""
    return samples if count() == 1 else samples.tensor_split(count())[rank()]


def gathered(part: Tensor) -> Tensor:
    """Concatenation of the parts of all processes."""
    return part if count() == 1 else torch.cat([p.to(part.device) for p in gather_object([part.cpu()])])


def shard(module: nn.Module, layers: nn.ModuleList | None) -> None:
    """Shard the module's weights over the processes, layer by layer; gradients are summed over all processes."""
    mesh = init_device_mesh("cuda" if torch.cuda.is_available() else "cpu", (count(),))
    parts = [*(layers or ()), module]
    for part in parts:
        fully_shard(part, mesh=mesh)
    for part in parts:
        assert isinstance(part, FSDPModule)
        part.set_gradient_divide_factor(1.0)
        part.set_force_sum_reduction_for_comms(True)  # gloo supports no other
    for name in ("hidden", "pooled"):  # methods that are called beside `forward`
        if hasattr(module, name):
            register_fsdp_forward_method(module, name)


def sum_gradients(module: nn.Module) -> None:
    """Sum the gradients of all processes in one all-reduce."""
    if count() == 1 or isinstance(module, FSDPModule):
        return
    owned = [p for p in module.parameters() if p.requires_grad]
    # A weight that no row of one process reached has no gradient there.
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in owned])
    dist.all_reduce(flat)
    for parameter, summed in zip(owned, flat.split([p.numel() for p in owned]), strict=True):
        parameter.grad = summed.view_as(parameter)


def whole(tensor: Tensor) -> Tensor:
    """The whole tensor, gathered where it is sharded; all processes must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(tensor: Tensor, other: Tensor) -> Tensor:
    """Shard a whole tensor as `other` is sharded."""
    return distribute_tensor(tensor, other.device_mesh, other.placements) if isinstance(other, DTensor) else tensor


def gather_back(module: nn.Module) -> None:
    """Free the weights gathered by the last pass, so that each process holds its shard alone."""
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()
