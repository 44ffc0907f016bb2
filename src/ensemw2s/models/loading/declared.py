"""Checks of the sizes declared in config.json against the weights, before anything is built from them."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ensemw2s.errors import ModelError
from ensemw2s.reading import load_json, read_text

CONFIG_BYTES = 2**23
"""Largest size of config.json; a list of tens of thousands of classes takes two million bytes."""
LAYERS = re.compile(r"(^|_)(layers?|blocks|depth)(_|$)")
SIZES = re.compile(r"size|dim|head|expert|vocab|width|rank|group|channel|inner|(^|_)(n|num|d)_")
POSITIONS = re.compile(r"position|length|ctx|context|window|seq|max_")
HIDDEN = ("hidden_size", "n_embd", "d_model", "dim", "n_embed")
MOST_LAYERS, LARGEST, LONGEST = 64, 2**20, 2**28
"""Numbers of layers, sizes and positions that are accepted whatever the weights."""
MORE, FREE = 32, 2**26
"""Factor by which a rough count of the declared parameters may exceed those of the weights, and a number of parameters
that is always accepted."""


def check_declared(name: str, folder: Path) -> None:
    """Refuse a configuration from which no model, or none with these weights, can be built.

    Raises:
        ModelError: config.json is missing, not a JSON object, too long or too deep, or declares a size that is negative
            or far beyond the weights.
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
    """Rough number of parameters of vocabulary and layers, from the largest declared sizes."""
    sizes = {key: value for key, value in numbers.items() if _most(key, 0, 0) == LARGEST and key != "vocab_size"}
    heads = max((value for key, value in sizes.items() if "heads" in key), default=1.0)
    widest = max([*sizes.values(), heads * numbers.get("head_dim", 1.0), 1.0])
    hidden = next((numbers[key] for key in HIDDEN if key in numbers), widest)
    layers = max((value for key, value in numbers.items() if LAYERS.search(key)), default=1.0)
    return hidden * (numbers.get("vocab_size", 1.0) + layers * widest)


def _most(key: str, n_tensors: int, largest: int) -> int | None:
    """Largest accepted value of a setting; None where it is not a size."""
    if key.endswith(("_id", "_ids", "token_index", "feature_layer", "seed")):
        return None
    if LAYERS.search(key):
        return max(MOST_LAYERS, n_tensors)  # a layer has at least one tensor, or shares another's
    if POSITIONS.search(key):
        return LONGEST
    return max(LARGEST, 2 * largest) if SIZES.search(key) else None


def _numbers(config: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """All numbers with their keys, including those of nested configurations."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _numbers(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield key, float(value) if abs(value) < 1e300 else float("inf")


def _of_weights(folder: Path) -> tuple[int, int, int]:
    """Number of tensors, their longest side and their total number of values, from the files' headers."""
    n_tensors = largest = n_values = 0
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, "pt") as tensors:
                for key in tensors.keys():  # noqa: SIM118
                    shape = tensors.get_slice(key).get_shape()
                    n_tensors, n_values = n_tensors + 1, n_values + math.prod(shape)
                    largest = max(largest, *shape, 1)
        except (SafetensorError, OSError):
            continue  # reported where the weights are loaded
    return n_tensors, largest, n_values
