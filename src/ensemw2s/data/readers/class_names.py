"""Class names of columns that hold class numbers (`datasets.ClassLabel`)."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

Names = dict[str, tuple[str, ...]]
"""Class names by column."""


def names_of(features: Mapping[str, Any]) -> Names:
    """Class names from the features of a `datasets.Dataset`, for columns of classes or of lists of classes."""
    found: Names = {}
    for column, feature in features.items():
        names = _attribute(feature, "names") or _attribute(_attribute(feature, "feature"), "names")
        if isinstance(names, Sequence) and all(isinstance(name, str) for name in names):
            found[column] = tuple(names)
    return found


def names_in_parquet(metadata: Mapping[bytes, bytes] | None) -> Names:
    """Class names from the metadata that `datasets` writes into a Parquet schema; empty where there is none."""
    try:
        features = json.loads((metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return names_of(features) if isinstance(features, Mapping) else {}


def named(row: dict[str, Any], names: Names) -> dict[str, Any]:
    """The row with class names in place of numbers; None in place of -1, which marks a row without a class."""
    changed = {column: _named(row[column], each) for column, each in names.items() if column in row}
    return row | changed if changed else row


def _named(value: Any, names: Sequence[str]) -> Any:
    if isinstance(value, list):
        return [_named(one, names) for one in value]
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    return names[value] if 0 <= value < len(names) else None if value == -1 else value


def _attribute(feature: Any, name: str) -> Any:
    return feature.get(name) if isinstance(feature, Mapping) else getattr(feature, name, None)
