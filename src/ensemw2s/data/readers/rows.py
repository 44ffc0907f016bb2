"""A streamed row and its limits, for all file formats."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ensemw2s.errors import DataError
from ensemw2s.reading import DEPTH, is_deep

ROW_BYTES = 2**24
"""Largest size of a row; a longer one is refused and never held in memory."""
MOST_COLUMNS = 10_000
"""Largest number of columns of a row."""
NESTED = frozenset((dict, list))


class BadRow(Exception):
    """A row cannot be read, for the reason in the argument; reading can continue with the next row."""


@dataclass(frozen=True, slots=True)
class StreamedRow:
    """A row, or what is wrong with it."""

    number: int
    """Number of the row from 1. Unreadable rows count, blank lines do not."""
    origin: str
    """Text before the line number in the name of its place."""
    line: int
    """Line in the file, from 1; in Parquet the number of the row, in a JSON array that of the item."""
    columns: dict[str, Any]
    problem: str
    """Empty where the row could be read."""
    done: int
    """Position in the file after the row, in the units of `total_units`."""

    @property
    def place(self) -> str:
        return f"{self.origin}{self.line}"


def check_row(row: dict[str, Any]) -> dict[str, Any]:
    """Check the number of columns and the nesting depth of a row. Raises BadRow."""
    if len(row) > MOST_COLUMNS:
        raise BadRow(f"{len(row):,} columns, where at most {MOST_COLUMNS:,} are read; leave out what no prompt needs")
    if not NESTED.isdisjoint(map(type, row.values())) and is_deep(row):
        raise BadRow(f"JSON that cannot be read (nested deeper than {DEPTH} levels); mend or delete the row")
    return row


def check_header(header: Sequence[str], columns: Sequence[str], name: str) -> None:
    """Refuse a header with which no row can be read.

    Raises:
        DataError: it has too many columns, one of them twice, or lacks one of `columns`.
    """
    if len(header) > MOST_COLUMNS:
        raise DataError(
            f"{name}: {len(header):,} columns, where at most {MOST_COLUMNS:,} are read; leave out what no prompt needs"
        )
    if len(set(header)) < len(header):
        twice = next(column for i, column in enumerate(header) if column in header[:i])
        raise DataError(f"{name}: two columns are named {twice[:200]!r}; rename one of them")
    for column in columns:
        if column not in header:
            near = difflib.get_close_matches(column, header, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"its columns are {listed(header)}"
            raise DataError(f"{name}: there is no column {column!r}; {hint}")


def listed(columns: Sequence[str]) -> str:
    """Column names for a message, shortened where there are many."""
    shown = ", ".join(repr(column[:100]) for column in columns[:30])
    return shown if len(columns) <= 30 else f"{shown} and {len(columns) - 30:,} others"


def not_utf8(text: str) -> BadRow | None:
    """Error for a text decoded with `surrogateescape` that is not UTF-8; None where it is."""
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        byte = len(text[: error.start].encode(errors="surrogateescape")) + 1
        return BadRow(f"not UTF-8 (byte {byte:,}); save the file as UTF-8")
    return None
