"""A question's own options: read from its columns, and which of them its answer names."""

import json
import string
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ensemw2s.data.template import no_column
from ensemw2s.errors import DataError

AnswerAs = Literal["text", "letter", "index", "number"]


def options_of(place: str, row: Mapping[str, Any], columns: Sequence[str]) -> tuple[str, ...]:
    """The texts of the options, in order: one column that lists them, or several that hold one each.

    A list is a list of the file, or (CSV has none) a text that is a JSON list. Of several columns, empty ones are
    left out: questions may have fewer options than others. `choices.text`, where no column has that name, is the
    entry `text` of the column `choices`.

    Raises:
        DataError: a column is missing, is no list of texts, or gives fewer than two different options.
    """
    found = [_at(place, row, column) for column in columns]
    if len(columns) == 1:
        value = _list(place, columns[0], found[0])
    else:
        value = [v for v in found if v is not None and str(v).strip()]
    wrong = [v for v in value if isinstance(v, bool) or not isinstance(v, str | int) or not str(v).strip()]
    if wrong:
        raise DataError(f"{place} (task.options): an option must be a text, got {wrong[0]!r:.80}; mend the value")
    options = tuple(str(v).strip() for v in value)
    if len(set(options)) < max(2, len(options)):
        raise DataError(
            f"{place} (task.options): a question needs two or more options, all different, got {list(options)}; mend "
            "them or delete the row"
        )
    return options


def chosen(place: str, column: str, answer: str, options: Sequence[str], answer_as: AnswerAs) -> int:
    """The place among `options` that the answer names.

    Raises:
        DataError: it names none of them.
    """
    text, k = answer.strip(), -1
    if answer_as == "text":
        k = options.index(text) if text in options else -1
        allowed = f"one of {list(options)}"
    elif answer_as == "letter":
        k = string.ascii_uppercase.find(text.upper()) if len(text) == 1 else -1
        allowed = f"a letter from A to {string.ascii_uppercase[: len(options)][-1]}"
    else:
        first = 0 if answer_as == "index" else 1
        k = int(text) - first if text.isascii() and text.isdigit() else -1
        allowed = f"a number from {first} to {first + len(options) - 1}"
    if not 0 <= k < len(options):
        raise DataError(
            f"{place}, column {column!r}: expected {allowed} (task.answer_as: {answer_as}), got {answer!r}; mend the "
            "value, or set task.answer_as to text, letter, index (from 0) or number (from 1)"
        )
    return k


def _at(place: str, row: Mapping[str, Any], column: str) -> Any:
    """The value of a column, or of an entry of one."""
    if column in row:
        return row[column]
    value: Any = row
    for name in column.split("."):
        if not isinstance(value, Mapping) or name not in value:
            raise DataError(f"{place}: {no_column(column, row, 'task.options')}")
        value = value[name]
    return value


def _list(place: str, column: str, value: Any) -> list[Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, list):
        raise DataError(
            f"{place}, column {column!r} (task.options): expected a list of texts; mend the value, or name one column "
            "per option"
        )
    return value
