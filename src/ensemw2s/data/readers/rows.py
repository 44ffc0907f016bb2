"""A streamed row, and what bounds one, whatever the format of its file."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ensemw2s.errors import DataError
from ensemw2s.reading import DEPTH, is_deep

ROW_BYTES = 2**24
"""A longer row is refused, and never held in memory."""
MOST_COLUMNS = 10_000
"""Of one row."""
NESTED = frozenset((dict, list))


class BadRow(Exception):
    """One row cannot be read; its argument says why, and the next row can be asked for."""


@dataclass(frozen=True, slots=True)
class StreamedRow:
    """One row, or what is wrong with it."""

    number: int
    """From 1; rows that cannot be read count, blank lines do not."""
    origin: str
    """What its line number makes a place of."""
    line: int
    """Of the file, from 1; in Parquet the number of the row, in a JSON array that of the item."""
    columns: dict[str, Any]
    problem: str
    """Empty where the row could be read."""
    done: int
    """How far the file had been read, in the units of `total_units`."""

    @property
    def place(self) -> str:
        return f"{self.origin}{self.line}"


def check_row(row: dict[str, Any]) -> dict[str, Any]:
    """The row, whose columns and depth are bounded. Raises BadRow."""
    if len(row) > MOST_COLUMNS:
        raise BadRow(f"{len(row):,} columns, where at most {MOST_COLUMNS:,} are read; leave out what no prompt needs")
    if not NESTED.isdisjoint(map(type, row.values())) and is_deep(row):
        raise BadRow(f"JSON that cannot be read (nested deeper than {DEPTH} levels); mend or delete the row")
    return row


def check_header(header: Sequence[str], columns: Sequence[str], name: str) -> None:
    """Refuse a header that no row can be read by.

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
    """Names of columns for a message, of which a file may have thousands."""
    shown = ", ".join(repr(column[:100]) for column in columns[:30])
    return shown if len(columns) <= 30 else f"{shown} and {len(columns) - 30:,} others"


def not_utf8(text: str) -> BadRow | None:
    """Why a text that was decoded with `surrogateescape` is no UTF-8; None where it is."""
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        byte = len(text[: error.start].encode(errors="surrogateescape")) + 1
        return BadRow(f"not UTF-8 (byte {byte:,}); save the file as UTF-8")
    return None
