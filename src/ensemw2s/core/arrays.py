"""NumPy arrays in, NumPy arrays out, for functions that are written for tensors."""

from collections.abc import Callable, Iterator
from functools import wraps
from types import FunctionType, MethodType
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def accepts_arrays(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function of tensors take NumPy arrays too, and then return arrays where it would return tensors.

    Arrays are looked for in the arguments and in tuples (records among them), lists and dictionaries of arguments.
    Where there is one, every array becomes a tensor of the same precision (integers become int64, as class indices
    are), and a function among the arguments is given arrays. Without an array the function is called as it is.
    """

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        if not (_has_array(args) or _has_array(kwargs)):
            return function(*args, **kwargs)
        tensors = [_to_tensors(value) for value in args], {name: _to_tensors(kwargs[name]) for name in kwargs}
        return _to_arrays(cast(Any, function)(*tensors[0], **tensors[1]))

    return wrapped


def _has_array(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(map(_has_array, value))
    if isinstance(value, dict):
        return any(map(_has_array, value.values()))
    return isinstance(value, np.ndarray)


def _to_tensors(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        # A tensor shares the memory of an array that is contiguous and may be written to, and of no other.
        tensor = torch.from_numpy(np.require(value, requirements=["C", "W"]))
        return tensor if tensor.is_floating_point() or tensor.dtype == torch.bool else tensor.long()
    if isinstance(value, FunctionType | MethodType):
        return lambda *args: _to_tensors(value(*map(_to_arrays, args)))
    return _mapped(_to_tensors, value)


def _to_arrays(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu().numpy()
    if isinstance(value, Iterator):
        return map(_to_arrays, value)
    return _mapped(_to_arrays, value)


def _mapped(convert: Callable[[Any], Any], value: Any) -> Any:
    """A tuple, record, list or dictionary with its parts converted; anything else as it is."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(convert, value))
    if isinstance(value, tuple | list):
        return type(value)(map(convert, value))
    if isinstance(value, dict):
        return {name: convert(part) for name, part in value.items()}
    return value
