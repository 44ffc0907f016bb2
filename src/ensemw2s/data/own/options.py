"""A question's own options: read from its columns, and which of them its answer names.

A position (a letter, an index, a number) counts what the file lists, empty places too: it is resolved before anything
is left out.
"""

import json
import math
import string
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ensemw2s.data.own.labels import spelt_as
from ensemw2s.data.templates.template import no_column
from ensemw2s.errors import DataError

AnswerAs = Literal["text", "letter", "index", "number"]


def places_of(place: str, row: Mapping[str, Any], columns: Sequence[str]) -> tuple[str, ...]:
    """The texts of the options in the order of the file; an empty place, as questions with fewer options have, is "".

    One column lists them, or several hold one each. A list is a list of the file, or (CSV has none) a text that is a
    JSON list. `choices.text`, where no column has that name, is the entry `text` of the column `choices`.

    Raises:
        DataError: a column is missing, is no list of texts, or gives fewer than two different options.
    """
    found = [_at(place, row, column) for column in columns]
    if len(columns) == 1:
        found = _list(place, columns[0], found[0])
    places = tuple("" if _is_empty(value) else _option(place, value) for value in found)
    options = options_of(places)
    if len(set(options)) < max(2, len(options)):
        raise DataError(
            f"{place} (task.options): a question needs two or more options, all different, got {list(options)}; mend "
            "them or delete the row"
        )
    return places


def options_of(places: Sequence[str]) -> tuple[str, ...]:
    """The options without the empty places."""
    return tuple(text for text in places if text)


def letters_of(row: Mapping[str, Any], columns: Sequence[str], places: Sequence[str]) -> tuple[str, ...]:
    """What the file itself calls its options: the entry `label` beside `text` of one column; else A, B and so on."""
    parent, _, last = columns[0].rpartition(".")
    if len(columns) == 1 and last == "text" and columns[0] not in row:
        value: Any = row
        for name in (*parent.split("."), "label"):
            value = value.get(name) if isinstance(value, Mapping) else None
        if isinstance(value, list) and len(value) == len(places) and len(set(map(str, value))) == len(value):
            return tuple(str(each).strip().upper() for each in value)
    return tuple(string.ascii_uppercase[: len(places)])


def chosen(
    place: str,
    column: str,
    answer: str,
    places: Sequence[str],
    answer_as: AnswerAs,
    letters: Sequence[str] = string.ascii_uppercase,
) -> str:
    """The option that the answer names.

    Args:
        places: of the file, empty ones too.
        letters: what the places are called.

    Raises:
        DataError: it names none of them, or an empty place.
    """
    text, k = answer.strip(), -1
    names = [letter for letter, _ in zip(letters, places, strict=False)]
    if answer_as == "text":
        spelt = spelt_as(text, options_of(places))
        k = -1 if spelt is None else places.index(spelt)
        allowed = f"one of {list(options_of(places))}"
    elif answer_as == "letter":
        k = names.index(text.upper()) if text.upper() in names else -1
        allowed = f"a letter from {names[0]} to {names[-1]}"
    else:
        first = 0 if answer_as == "index" else 1
        k = int(text) - first if text.isascii() and text.isdigit() else -1
        allowed = f"a number from {first} to {first + len(places) - 1}"
    if not 0 <= k < len(places):
        raise DataError(
            f"{place}, column {column!r}: expected {allowed} (task.answer_as: {answer_as}), got {answer!r}; mend the "
            "value, or set task.answer_as to text, letter, index (from 0) or number (from 1)"
        )
    if not places[k]:
        raise DataError(
            f"{place}, column {column!r}: {answer!r} names an option that is empty (task.answer_as: {answer_as}; the "
            f"options are {list(places)}); fill it in, mend the answer, or delete the row"
        )
    return places[k]


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


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value)) or not str(value).strip()


def _option(place: str, value: Any) -> str:
    if isinstance(value, float) and value.is_integer():  # a column of whole numbers where some are missing
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DataError(f"{place} (task.options): an option must be a text, got {value!r:.80}; mend the value")
    return str(value).strip()


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
