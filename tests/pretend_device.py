"""A device that is not there: `ensemw2s` with its models on it, on a machine without a GPU.

    python tests/pretend_device.py run config.yaml --tiny

Tensors of the device `pretend` are PyTorch's own, of a backend for which every operation is computed on the CPU. As on
a GPU, an operation on tensors of both devices is an error, unless the CPU's has no dimensions. So what would fail on a
GPU because something was left on the CPU fails here. How numbers of a GPU differ is not seen.
"""

import warnings
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "pretend"
TAKES_INDICES_OF_THE_CPU = ("aten::index", "aten::_index", "aten::copy_")
"""Operations that may have tensors of both devices."""
_values: dict[int, Tensor] = {}
"""What each storage of the device holds, as a tensor of the CPU. Nothing is ever removed: for short runs."""
_copied_views: set[int] = set()
"""Storages that hold copies where PyTorch would have a view."""
FILLS = ("aten::fill_", "aten::zero_", "aten::index_put_", "aten::masked_fill_")
"""Operations by which a part of a tensor is set through a view. On a copy that would be lost, and is an error."""


class _Module:
    """What PyTorch asks of a backend."""

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]

    def manual_seed_all(self, seed: int) -> None:
        pass

    def _is_in_bad_fork(self) -> bool:
        return False


def _is_on(value: object) -> bool:
    return isinstance(value, Tensor) and value.device.type == NAME


def _put(values: Tensor, *, is_view: bool) -> Tensor:
    whole = values.contiguous()
    tensor = torch._C._acc.create_empty_tensor(whole.shape, whole.dtype)
    storage = tensor.untyped_storage()._cdata
    _values[storage] = whole
    (_copied_views.add if is_view and whole is not values else _copied_views.discard)(storage)
    return tensor


def _get(tensor: Tensor) -> Tensor:
    whole = _values[tensor.untyped_storage()._cdata]
    if tensor.numel() > whole.numel() or tensor.dtype != whole.dtype:
        return whole
    # PyTorch itself makes views that share a storage.
    return whole.as_strided(tensor.shape, tensor.stride(), whole.storage_offset() + tensor.storage_offset())


def _check_written(tensor: Tensor, name: str) -> None:
    if _is_on(tensor) and tensor.untyped_storage()._cdata in _copied_views:
        raise NotImplementedError(f"{name} writes to a view that is a copy here; let `install` compute it whole")


def _computed(op: Any, *args: Any, **kwargs: Any) -> Any:
    # Autograd and inference mode have done their part before a backend is asked.
    with torch.inference_mode(False), torch.no_grad():
        return _compute(op, args, kwargs)


def _compute(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name, arguments = op._schema.name, op._schema.arguments
    if name in ("aten::_copy_from", "aten::_copy_from_and_resize"):
        _check_written(args[1], name)
        source, target = (_get(t) if _is_on(t) else t for t in args[:2])
        target.resize_(source.shape) if name.endswith("resize") else None
        target.copy_(source)
        return args[1]
    given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    elsewhere = [t for t in given if not _is_on(t) and t.ndim]
    if elsewhere and any(map(_is_on, given)) and not name.startswith(TAKES_INDICES_OF_THE_CPU):
        raise RuntimeError(f"Expected all tensors to be on the same device, but {name} has some on the CPU")

    def on_cpu(value: Any) -> Any:
        return _get(value) if _is_on(value) else torch.device("cpu") if isinstance(value, torch.device) else value

    is_made_here = kwargs.get("device") is None or torch.device(kwargs["device"]).type == NAME
    inputs, named = tree_map(on_cpu, (args, kwargs))
    if name == "aten::as_strided":  # an offset counts from the start of the storage
        offset = (inputs[3] if len(inputs) > 3 else named.pop("storage_offset", None)) or 0
        inputs = (*inputs[:3], inputs[0].storage_offset() + offset)
    # A number that PyTorch had wrapped as a tensor comes here as a number again.
    inputs = tuple(
        torch.tensor(value) if isinstance(value, int | float) and str(argument.type) == "Tensor" else value
        for argument, value in zip(arguments, inputs, strict=False)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = op(*inputs, **named)
    by_name = [*zip(arguments, args, strict=False), *((a, kwargs[a.name]) for a in arguments if a.name in kwargs)]
    written = [value for a, value in by_name if a.alias_info is not None and a.alias_info.is_write]
    if written:
        targets = tree_leaves(written)
        if name.startswith(FILLS):
            _check_written(targets[0], name)
        return targets[0] if isinstance(out, Tensor) else type(out)(targets) if out is not None else None
    is_view = any(each.alias_info is not None for each in op._schema.returns)
    return tree_map(lambda v: _put(v, is_view=is_view) if isinstance(v, Tensor) and is_made_here else v, out)


_deepcopies = {cls: cls.__deepcopy__ for cls in (Tensor, torch.nn.Parameter)}
_address = torch.UntypedStorage.data_ptr
_apply = torch.nn.Module._apply
_libraries: list[torch.library.Library] = []


def install() -> None:
    """Register the device, and let this package put its models on it."""
    _setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    every = torch.library.Library("_", "IMPL")
    every.fallback(_computed, "PrivateUse1")
    aten = torch.library.Library("aten", "IMPL")
    ops = torch.ops.aten
    # PyTorch would make these of others, which resize what they are given, or write to views of it.
    for op in (
        ops.abs.default,
        ops.arange.default,
        ops.arange.start,
        ops.arange.start_step,
        ops.remainder.Scalar,
        ops.repeat.default,
        ops.select_backward.default,
        ops.slice_backward.default,
    ):
        name = op._schema.name.removeprefix("aten::") + (
            "" if op._overloadname == "default" else f".{op._overloadname}"
        )
        aten.impl(name, lambda *args, op=op, **kwargs: _computed(op, *args, **kwargs), "PrivateUse1")

    def convolved(*args: Any) -> Tensor:
        return _computed(ops.convolution.default, *args)

    aten.impl("convolution_overrideable", convolved, "PrivateUse1")
    _libraries.extend((every, aten))
    torch.nn.Module._apply = _applied
    torch.UntypedStorage.data_ptr = lambda storage: storage._cdata if storage.device.type == NAME else _address(storage)
    for cls, original in _deepcopies.items():  # which would read the memory of a storage
        cls.__deepcopy__ = lambda tensor, memo, original=original: _copied(tensor, memo, original)

    from ensemw2s.models.loading import load

    load.device = lambda: torch.device(NAME)


def _applied(module: torch.nn.Module, fn: Any, recurse: bool = True) -> torch.nn.Module:
    """A model moves in place, so that tied weights stay tied. Loading must not: it would change weights that others
    share."""
    future = torch.__future__
    before = future.get_swap_module_params_on_conversion()
    future.set_swap_module_params_on_conversion(True)
    try:
        return _apply(module, fn, recurse)
    finally:
        future.set_swap_module_params_on_conversion(before)


def _copied(tensor: Tensor, memo: dict[int, Any], original: Any) -> Tensor:
    if not _is_on(tensor):
        return original(tensor, memo)
    if id(tensor) not in memo:
        new = tensor.detach().clone()
        is_parameter = isinstance(tensor, torch.nn.Parameter)
        memo[id(tensor)] = torch.nn.Parameter(new, tensor.requires_grad) if is_parameter else new
    return memo[id(tensor)]


if __name__ == "__main__":
    install()
    from ensemw2s.cli import main

    main()
