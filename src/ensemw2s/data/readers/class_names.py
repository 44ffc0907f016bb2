"""Names of classes that a data set keeps beside the numbers of its columns: `datasets.ClassLabel`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

Names = dict[str, tuple[str, ...]]
"""Column to the names of its classes."""


def names_of(features: Mapping[str, Any]) -> Names:
    """Of the features of a `datasets.Dataset`, or of their records: a column of classes, or of lists of them."""
    found: Names = {}
    for column, feature in features.items():
        names = _attribute(feature, "names") or _attribute(_attribute(feature, "feature"), "names")
        if isinstance(names, Sequence) and all(isinstance(name, str) for name in names):
            found[column] = tuple(names)
    return found


def names_in_parquet(metadata: Mapping[bytes, bytes] | None) -> Names:
    """Of what `datasets` writes into the schema of a Parquet file; none where it wrote nothing."""
    try:
        features = json.loads((metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return names_of(features) if isinstance(features, Mapping) else {}


def named(row: dict[str, Any], names: Names) -> dict[str, Any]:
    """The row with the names of its classes; None for -1, by which such columns say that a row has none."""
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
