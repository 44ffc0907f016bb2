"""Streaming reader of CSV and of other separators: semicolons, tabs, bars."""

import csv
import io
import itertools
import re
from collections.abc import Iterator, Sequence

from ensemw2s.data.readers.rows import ROW_BYTES, BadRow, StreamedRow, check_header, not_utf8
from ensemw2s.data.readers.source import Lines, Source
from ensemw2s.errors import DataError

ROW_LINES = 100_000
"""Largest number of lines of a quoted value; an unclosed quotation mark would take all lines that follow."""
SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}


def separated_rows(source: Source, columns: Sequence[str], name: str, separator: str | None) -> Iterator[StreamedRow]:
    """Rows of a file of separated values. Every value stays text: "NA" is an answer, and 007 keeps its zeros.

    Args:
        separator: None takes a comma, or what the first two rows agree on (Excel writes semicolons in much of Europe).

    Raises:
        DataError: the header cannot be read, or `check_header` refuses it.
    """
    csv.field_size_limit(ROW_BYTES)  # of the process; a whole row is held to it, too
    lines = _Records(source, name)
    if said := re.match(r"sep=(.)[\r\n]", source.head):  # Excel's own mark
        separator = said[1]
        next(lines)
    separator = separator or _separator(source.head, source.is_whole, name)
    reader = csv.reader(lines, strict=True, delimiter=separator)
    header: list[str] = []
    number = 0
    while True:
        line = lines.begin()  # a quoted value may hold newlines: a row is named by its first line
        values: list[str] = []
        problem = ""
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = f"not valid CSV ({error}); mend that line"
        except BadRow as error:
            problem = str(error)
        problem = lines.problem or problem
        if not header:
            if problem:
                raise DataError(f"{name}:{line}: {problem}")
            header = values
            if header:
                check_header(header, columns, f"{name}:{line}")
            continue
        if not problem and not values:
            continue
        if not problem and len(values) != len(header):
            problem = (
                f"{len(values):,} values for {len(header):,} columns; put quotes around a value that holds "
                f"{SEPARATORS.get(separator, repr(separator))}, or fill in what is missing"
            )
        number += 1
        row = {} if problem else dict(zip(header, values, strict=True))
        yield StreamedRow(number, f"{name}:", line, row, problem, source.done)


class _Records:
    """Lines for the csv reader, which takes several where a quoted value holds newlines, with a limit for each row.

    This is an object with `__next__` because an error in a line would end a generator.
    """

    def __init__(self, source: Source, name: str):
        self._lines = Lines(source.text, name)
        self._size = self._first = 0
        self.problem = ""
        """Error of the current row, which is still read to its end so that the next row starts correctly."""

    def begin(self) -> int:
        """Start a new row. Returns its line number."""
        self._size, self.problem = 0, ""
        self._first = self._lines.number + 1
        return self._first

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self._size += len(line)
        if self._size > ROW_BYTES or self._lines.number - self._first > ROW_LINES:
            what = f"{ROW_BYTES:,} bytes" if self._size > ROW_BYTES else f"{ROW_LINES:,} lines"
            raise BadRow(f"the row is longer than {what}; is a quotation mark open? shorten or delete it")
        if (fault := not_utf8(line)) is not None:
            self.problem = str(fault)
        elif "\0" in line:
            self.problem = "it holds a NUL byte, which no text does; mend or delete the line"
        return line


def _separator(head: str, is_whole: bool, name: str) -> str:
    """The separator with which header and first row have equally many columns; a comma for a single column.

    Raises:
        DataError: several separators fit, and a comma does not.
    """
    fitting = [separator for separator in SEPARATORS if _fits(head, is_whole, separator)]
    if not fitting or "," in fitting:
        return ","
    if len(fitting) > 1:
        shown = " or ".join(SEPARATORS[each] for each in fitting)
        raise DataError(f"{name}: its columns may be separated by {shown}; save it with commas")
    return fitting[0]


def _fits(head: str, is_whole: bool, separator: str) -> bool:
    reader = csv.reader(io.StringIO(head, newline=""), delimiter=separator)
    rows = list(itertools.islice(filter(None, reader), 3))
    if len(rows) < 3 and not is_whole:
        rows = rows[: len(rows) - 1]  # the last one may be cut
    widths = [len(row) for row in rows[:2]]
    return bool(widths) and widths[0] > 1 and widths[0] == widths[-1]
