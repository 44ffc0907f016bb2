"""What a model's config.json says of its sizes, held against the weights beside it before anything is built from it."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ensemw2s.errors import ModelError
from ensemw2s.reading import load_json, read_text

CONFIG_BYTES = 2**23
"""Of config.json: lists of tens of thousands of classes take two million."""
LAYERS = re.compile(r"(^|_)(layers?|blocks|depth)(_|$)")
SIZES = re.compile(r"size|dim|head|expert|vocab|width|rank|group|channel|inner|(^|_)(n|num|d)_")
POSITIONS = re.compile(r"position|length|ctx|context|window|seq|max_")
HIDDEN = ("hidden_size", "n_embd", "d_model", "dim", "n_embed")
MOST_LAYERS, LARGEST, LONGEST = 64, 2**20, 2**28
"""Layers, sizes and positions that any folder may declare, whatever its weights."""
MORE, FREE = 32, 2**26
"""Times that a rough count of its parameters may exceed those of the weights, and parameters that anything may have."""


def check_declared(name: str, folder: Path) -> None:
    """Refuse a configuration of which no model could be built, or none with these weights.

    Raises:
        ModelError: config.json is missing, no JSON object, too long or too deep, or declares a size that is negative
            or that the weights have nothing of.
    """
    path = folder / "config.json"
    mend = "check the folder or fetch it again"
    try:
        config = load_json(read_text(path, ModelError, limit=CONFIG_BYTES, mend=mend))
    except ValueError as error:
        raise ModelError(
            f"{name}: the model in {folder} cannot be loaded: config.json is not readable as JSON ({error}); {mend}"
        ) from None
    if not isinstance(config, dict):
        raise ModelError(
            f"{name}: the model in {folder} cannot be loaded: config.json holds a {type(config).__name__}, not an "
            f"object; {mend}"
        )
    n_tensors, largest, n_values = _of_weights(folder)
    has = f"{n_tensors:,} tensors of {n_values:,} values, the longest side of one {largest:,}"
    numbers = list(_numbers(config))
    for key, number in numbers:
        most = _most(key, n_tensors, largest)
        if most is not None and not -1 <= number <= most:
            raise ModelError(
                f"{name}: the model in {folder} cannot be loaded: config.json says that {key} is {number:.6g}, and the "
                f"weights beside it have {has}; {mend}"
            )
    if n_tensors and (count := _rough_count(dict(numbers))) > FREE + MORE * n_values:
        raise ModelError(
            f"{name}: the model in {folder} cannot be loaded: config.json declares {count:.2g} parameters or so, and "
            f"the weights beside it have {has}; {mend}"
        )


def _rough_count(numbers: dict[str, float]) -> float:
    """Parameters by the largest sizes that are declared, of the vocabulary and of all layers."""
    sizes = {key: value for key, value in numbers.items() if _most(key, 0, 0) == LARGEST and key != "vocab_size"}
    heads = max((value for key, value in sizes.items() if "heads" in key), default=1.0)
    widest = max([*sizes.values(), heads * numbers.get("head_dim", 1.0), 1.0])
    hidden = next((numbers[key] for key in HIDDEN if key in numbers), widest)
    layers = max((value for key, value in numbers.items() if LAYERS.search(key)), default=1.0)
    return hidden * (numbers.get("vocab_size", 1.0) + layers * widest)


def _most(key: str, n_tensors: int, largest: int) -> int | None:
    """The largest value that a setting can have; None where it is no size."""
    if key.endswith(("_id", "_ids", "token_index", "seed")):
        return None
    if LAYERS.search(key):
        return max(MOST_LAYERS, n_tensors)  # a layer has at least one, or shares another's
    if POSITIONS.search(key):
        return LONGEST
    return max(LARGEST, 2 * largest) if SIZES.search(key) else None


def _numbers(config: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Every number with its key, also those of configurations within."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _numbers(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield key, float(value) if abs(value) < 1e300 else float("inf")


def _of_weights(folder: Path) -> tuple[int, int, int]:
    """Number of tensors, the longest side of one and the values of all, as the heads of the files say."""
    n_tensors = largest = n_values = 0
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, "pt") as tensors:
                for key in tensors.keys():  # noqa: SIM118
                    shape = tensors.get_slice(key).get_shape()
                    n_tensors, n_values = n_tensors + 1, n_values + math.prod(shape)
                    largest = max(largest, *shape, 1)
        except (SafetensorError, OSError):
            continue  # who reads the weights says so
    return n_tensors, largest, n_values
