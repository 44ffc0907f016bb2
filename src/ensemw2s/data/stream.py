"""Rows of a file of any length, one at a time; a row that cannot be read is yielded with its problem."""

import codecs
import csv
import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ensemw2s.data.load import json_row
from ensemw2s.errors import DataError
from ensemw2s.text import visible

LINE_BYTES = 2**24
"""A longer line is refused as a row, and never held in memory."""
BATCH_ROWS = 256
"""Rows of Parquet that are Python objects at once."""


@dataclass(frozen=True, slots=True)
class StreamedRow:
    """One row, or what is wrong with it."""

    number: int
    """From 1; rows that cannot be read count, blank lines do not."""
    origin: str
    """What its line number makes a place of."""
    line: int
    """Of the file, from 1; of Parquet the number of the row."""
    columns: dict[str, Any]
    problem: str
    """Empty where the row could be read."""
    done: int
    """How far this row is, in the units of `total_units`."""

    @property
    def place(self) -> str:
        return f"{self.origin}{self.line}"


def total_units(path: Path) -> int:
    """The length of the whole file as far as it is known without reading it: bytes, of Parquet rows."""
    if path.suffix.lower() != ".parquet":
        return path.stat().st_size
    with _parquet_file(path, str(path)) as file:
        return file.metadata.num_rows


def stream_rows(path: Path, columns: Sequence[str], *, shown: str | None = None) -> Iterator[StreamedRow]:
    """The rows of a .jsonl, .csv or .parquet file; memory does not grow with the file.

    Args:
        path: an existing file of a known kind.
        columns: what will be asked of each row; Parquet reads no others.
        shown: how places name the file, where not by its path.

    Raises:
        DataError: the file is no whole Parquet file; the header of a Parquet or CSV file lacks one of `columns` or
            has one twice; the disk cannot be read. All but the last come before the first row.
    """
    name = str(path) if shown is None else shown
    try:
        if path.suffix.lower() == ".parquet":
            yield from _parquet_rows(path, columns, name)
            return
        with path.open("rb") as file:
            yield from (_csv_rows if path.suffix.lower() == ".csv" else _jsonl_rows)(_Lines(file), columns, name)
    except OSError as error:
        raise DataError(f"{path}: the file cannot be read ({error.strerror or error}); check its permissions") from None


def reason_of(error: DataError, place: str) -> str:
    """The message without the place that it begins with, and cut where a value made it endless."""
    text = str(error).removeprefix(visible(place)).lstrip(":, ")
    return text if len(text) <= 500 else f"{text[:400]} … {text[-90:]}"


class _Lines:
    """Lines with their newlines, as bytes and of bounded length; goes on after the error of an endless one."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.number = 0
        self.bytes_read = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        line = part = self._file.readline(LINE_BYTES)
        if not line:
            raise StopIteration
        self.number += 1
        self.bytes_read += len(part)
        while len(part) == LINE_BYTES and not part.endswith(b"\n"):
            part = self._file.readline(LINE_BYTES)
            self.bytes_read += len(part)
        if part is not line:
            raise DataError(f"the line is longer than {LINE_BYTES:,} bytes; shorten or delete it")
        return line.removeprefix(codecs.BOM_UTF8) if self.number == 1 else line


def _jsonl_rows(lines: _Lines, columns: Sequence[str], name: str) -> Iterator[StreamedRow]:
    number = 0
    while True:
        line = lines.number + 1
        place = f"{name}:{line}"
        row, problem = None, ""
        try:
            row = json_row(next(lines).removesuffix(b"\n"), place)
            if row is None:
                continue
        except StopIteration:
            return
        except DataError as error:
            problem = reason_of(error, place)
        number += 1
        yield StreamedRow(number, f"{name}:", line, row or {}, problem, lines.bytes_read)


def _csv_rows(lines: _Lines, columns: Sequence[str], name: str) -> Iterator[StreamedRow]:
    """Every value stays text. A byte that is no UTF-8 becomes half a character: who asks for that column refuses it."""
    # `map` and the reader both go on after an error of a line; a generator would be finished by it.
    reader = csv.reader(map(_lenient, lines), strict=True)
    header: list[str] = []
    number = 0
    while True:
        line = lines.number + 1  # a quoted value may hold newlines: a row is named by its first line
        values: list[str] = []
        problem = ""
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = f"not valid CSV ({error}); mend that line"
        except DataError as error:
            problem = str(error)
        if not header:
            if problem:
                raise DataError(f"{name}:{line}: {problem}")
            header = values
            if header:
                _check_header(header, columns, name)
            continue
        if not problem and not values:
            continue
        if not problem and len(values) != len(header):
            problem = (
                f"{len(values)} values for {len(header)} columns; put quotes around a value that holds a comma, or "
                "fill in what is missing"
            )
        number += 1
        row = {} if problem else dict(zip(header, values, strict=True))
        yield StreamedRow(number, f"{name}:", line, row, problem, lines.bytes_read)


def _parquet_rows(path: Path, columns: Sequence[str], name: str) -> Iterator[StreamedRow]:
    import pyarrow

    with _parquet_file(path, name) as file:
        _check_header(file.schema_arrow.names, columns, name)
        number = 0
        try:
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=list(columns)):
                for i in range(batch.num_rows):
                    number += 1
                    row, problem = {}, ""
                    try:
                        row = {column: batch.column(column)[i].as_py() for column in columns}
                    except (ValueError, OverflowError) as error:  # text that is not UTF-8, a date out of range
                        problem = f"a value that cannot be read ({' '.join(str(error).split())[:200]}); mend it"
                    yield StreamedRow(number, f"{name} row ", number, row, problem, number)
        except pyarrow.ArrowException as error:
            raise DataError(
                f"{name} after row {number}: not a whole Parquet file ({' '.join(str(error).split())[:200]}); write it "
                "again"
            ) from None


def _parquet_file(path: Path, name: str) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        # A buffer of its own for each column: else whole row groups, of any size, are read into memory.
        return pyarrow.parquet.ParquetFile(path, buffer_size=2**20)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            f"{name}: not a whole Parquet file ({' '.join(str(error).split())[:200]}); write it again"
        ) from None


def _check_header(header: Sequence[str], columns: Sequence[str], name: str) -> None:
    if twice := sorted({column for column in header if header.count(column) > 1}):
        raise DataError(f"{name}: two columns are named {twice[0]!r}; rename one of them")
    for column in columns:
        if column not in header:
            near = difflib.get_close_matches(column, header, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"its columns are {', '.join(map(repr, header))}"
            raise DataError(f"{name}: there is no column {column!r}; {hint}")


def _lenient(line: bytes) -> str:
    return line.decode(errors="surrogateescape")
