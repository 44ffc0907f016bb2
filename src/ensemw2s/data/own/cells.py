"""One cell of a user's file: a name or a number, or the refusal that names its place."""

import math
from typing import Any

from ensemw2s.data.templates.template import no_column
from ensemw2s.errors import DataError


def value_of(place: str, row: dict[str, Any], column: str, setting: str) -> Any:
    if column not in row:
        raise DataError(f"{place}: {no_column(column, row, setting)}")
    return row[column]


def _text(place: str, row: dict[str, Any], column: str, setting: str) -> str:
    value = value_of(place, row, column, setting)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DataError(
            f"{place}, column {column!r}: expected text, got {value!r} ({type(value).__name__}); mend the value"
        )
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError:  # JSON can escape half of a character
        raise DataError(f"{place}, column {column!r}: {value!r} is not valid Unicode; mend the value") from None
    return text


def name_of(place: str, row: dict[str, Any], column: str, setting: str) -> str:
    """A text that identifies something: were it empty, all rows that lack it would count as the same.

    Raises:
        DataError: the column is missing, or its value is empty, neither text nor a whole number, or no valid Unicode.
    """
    text = _text(place, row, column, setting)
    if not text.strip():
        raise DataError(f"{place}, column {column!r} ({setting}): the value is empty; fill it in or delete the row")
    return text


def number_of(place: str, row: dict[str, Any], column: str) -> float:
    value = value_of(place, row, column, "task.difficulty")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise DataError(
            f"{place}, column {column!r}: difficulty must be a finite number, got {value!r:.80}; mend the value"
        )
    return number
