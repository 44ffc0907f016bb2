"""Rows of Parquet, streamed in bounded memory: a few kilobytes of it can stand for gigabytes, and its records tell."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pyarrow.compute
import pyarrow.parquet
from numpy.typing import NDArray
from pyarrow import types

from ensemw2s.data.readers.class_names import named, names_in_parquet
from ensemw2s.data.readers.rows import MOST_COLUMNS, ROW_BYTES, BadRow, StreamedRow, check_header, check_row
from ensemw2s.data.readers.source import EXPANSION
from ensemw2s.errors import DataError
from ensemw2s.reading import open_file

BATCH_ROWS, SLICE_ROWS = 2048, 256
"""Rows that are Arrow's at once, and those of them that are Python's."""
BATCH_BYTES = 2**26
"""Fewer rows are taken at once where they are longer than this together."""
MOST_VALUES = 2**25
"""Of a column of lists in one group of rows: 256 MiB."""
VALUE_BYTES = 8
"""Of a number or a place in a list."""


def n_parquet_rows(path: Path, name: str) -> int:
    """Rows of the whole file. Raises DataError where it is no whole Parquet file."""
    with _opened(path, name, ()) as file:
        return file.metadata.num_rows


def parquet_rows(path: Path, columns: Sequence[str] | None, name: str, *, rest: bool = False) -> Iterator[StreamedRow]:
    """The rows, with `columns` alone (None: all), or with the `rest`, too.

    Raises:
        DataError: it is no whole Parquet file, lacks a column, or its records tell of what no memory holds.
    """
    with _opened(path, name, None if rest else columns) as file:
        check_header(file.schema_arrow.names, columns or (), name)
        wanted = list(file.schema_arrow.names if columns is None or rest else columns)
        classes = names_in_parquet(file.schema_arrow.metadata)
        number = 0
        try:
            for batch in file.iter_batches(batch_size=_batch_rows(file, wanted), columns=wanted):
                for row, problem in _rows(batch, wanted):
                    number += 1
                    yield StreamedRow(number, f"{name} row ", number, named(row, classes), problem, number)
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(
                f"{name} after row {number}: not a whole Parquet file ({_short(error)}); write it again"
            ) from None


@contextmanager
def _opened(path: Path, name: str, columns: Sequence[str] | None) -> Iterator[pyarrow.parquet.ParquetFile]:
    with open_file(path, DataError) as checked, pyarrow.OSFile(os.fsencode(path)) as source:
        checked.close()  # Arrow reads without Python where it opens a file itself
        try:
            records = pyarrow.parquet.read_metadata(source)
            schema = records.schema.to_arrow_schema()
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
            raise DataError(f"{name}: not a whole Parquet file ({_short(error)}); write it again") from None
        wanted = set(schema.names if columns is None else columns)
        check_header(schema.names, sorted(wanted), name)
        texts = _check(records, wanted, name)
        # A buffer of its own for each column: else whole row groups, of any size, are read into memory.
        open_with = partial(pyarrow.parquet.ParquetFile, source, metadata=records, buffer_size=2**20)
        try:
            texts = [text for text in texts if _is_long(open_with(read_dictionary=[text]), text)]
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{name}: not a whole Parquet file ({_short(error)}); write it again") from None
        # Long texts that the file holds once stay so: repeated in a batch, they could be gigabytes.
        yield open_with(read_dictionary=texts)


def _check(records: Any, wanted: set[str], name: str) -> list[str]:
    """Refuse what would fill the memory, by what the file says of itself; returns the columns of repeated texts."""
    texts: set[str] = set()
    schema = records.schema
    leaves = [i for i in range(records.num_columns) if schema.column(i).path.split(".")[0] in wanted]
    if len(leaves) > MOST_COLUMNS:
        raise DataError(f"{name}: {len(leaves):,} columns, where at most {MOST_COLUMNS:,} are read")
    for g in range(records.num_row_groups):
        group = records.row_group(g)
        n_bytes = n_packed = 0
        for i in leaves:
            chunk = group.column(i)
            n_bytes, n_packed = n_bytes + chunk.total_uncompressed_size, n_packed + chunk.total_compressed_size
            leaf = schema.column(i)
            if leaf.max_repetition_level and chunk.num_values > MOST_VALUES:
                raise DataError(
                    f"{name}: the lists of column {leaf.path.split('.')[0]!r} have {chunk.num_values:,} values in one "
                    f"group of rows, where at most {MOST_VALUES:,} are read; write it with smaller groups"
                )
            if leaf.physical_type == "BYTE_ARRAY" and any("DICTIONARY" in e for e in chunk.encodings):
                texts.add(leaf.path)
        if n_bytes > max(BATCH_BYTES, EXPANSION * n_packed):
            raise DataError(
                f"{name}: a group of rows that grows from {n_packed:,} to {n_bytes:,} bytes when it is unpacked; "
                "if you trust it, write it again without compression"
            )
        if n_bytes > ROW_BYTES * max(group.num_rows, 1):
            raise DataError(
                f"{name}: {group.num_rows:,} rows of {n_bytes:,} bytes, and a row may have {ROW_BYTES:,}; shorten them"
            )
    if records.num_rows > max(10**6, EXPANSION * sum(_packed(records))):
        raise DataError(f"{name}: {records.num_rows:,} rows in a file far too small to tell them apart; write it again")
    return sorted(texts)


def _is_long(file: Any, text: str) -> bool:
    """Whether a column of repeated texts has one of which a batch could not hold as many as it has rows."""
    if "." in text:
        return True  # in lists, of any number to a row
    for g in range(file.metadata.num_row_groups):
        for batch in file.iter_batches(batch_size=1, row_groups=[g], columns=[text]):
            values = batch.column(0)
            if types.is_dictionary(values.type) and len(values.dictionary):
                longest = int(_sizes(values.dictionary).max())
                if longest * BATCH_ROWS > BATCH_BYTES:
                    return True
            break  # the first row brings the whole dictionary of its group
    return False


def _packed(records: Any) -> Iterator[int]:
    for g in range(records.num_row_groups):
        group = records.row_group(g)
        yield from (group.column(i).total_compressed_size for i in range(records.num_columns))


def _batch_rows(file: Any, wanted: Sequence[str]) -> int:
    """So many that a batch stays within BATCH_BYTES, by the longest group's mean; by its whole where text shares
    prefixes, which unpacks any one of them to the length of all."""
    most = 1
    for g in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(g)
        for i in range(group.num_columns):
            chunk = group.column(i)
            if chunk.path_in_schema.split(".")[0] in wanted:
                shares = "DELTA_BYTE_ARRAY" in chunk.encodings
                most = max(most, chunk.total_uncompressed_size // (1 if shares else max(group.num_rows, 1)))
    return max(1, min(BATCH_ROWS, BATCH_BYTES // most))


def _rows(batch: Any, wanted: Sequence[str]) -> Iterator[tuple[dict[str, Any], str]]:
    """Each row with what is wrong with it; many at once where they are as they should be."""
    columns = [batch.column(column) for column in wanted]
    all_sizes = sum((_sizes(column) for column in columns), numpy.zeros(batch.num_rows, dtype=numpy.int64))
    for start in range(0, batch.num_rows, SLICE_ROWS):
        sizes = all_sizes[start : start + SLICE_ROWS]
        parts = [column.slice(start, SLICE_ROWS) for column in columns]
        rows: list[dict[str, Any]] = []
        if sizes.sum() <= BATCH_BYTES and sizes.max(initial=0) <= ROW_BYTES:
            try:
                values = [_plain(part).to_pylist() for part in parts]
                rows = [dict(zip(wanted, row, strict=True)) for row in zip(*values, strict=True)]
            except (ValueError, OverflowError):
                rows = []  # because of one of them: they are read one by one
        yield from map(_checked, rows) if rows else _one_by_one(parts, wanted, sizes)


def _one_by_one(columns: Sequence[Any], wanted: Sequence[str], sizes: Any) -> Iterator[tuple[dict[str, Any], str]]:
    for i, size in enumerate(sizes):
        if size > ROW_BYTES:
            yield {}, f"the row is longer than {ROW_BYTES:,} bytes; shorten or delete it"
            continue
        try:
            yield _checked({column: values[i].as_py() for column, values in zip(wanted, columns, strict=True)})
        except (ValueError, OverflowError) as error:  # text that is not UTF-8, a date out of range
            yield {}, f"a value that cannot be read ({_short(error)}); mend it"


def _checked(row: dict[str, Any]) -> tuple[dict[str, Any], str]:
    try:
        return check_row(row), ""
    except BadRow as error:
        return {}, str(error)


def _plain(column: Any) -> Any:
    return column.dictionary_decode() if types.is_dictionary(column.type) else column


def _sizes(column: Any) -> NDArray[numpy.int64]:
    """Bytes of each value, or a little more, before any of it is a Python object."""
    kind = column.type
    if types.is_dictionary(kind):
        of_values = _sizes(column.dictionary)
        places = column.indices.fill_null(0).to_numpy(zero_copy_only=False)
        return of_values[places] if len(of_values) else numpy.zeros(len(column), dtype=numpy.int64)
    if types.is_string(kind) or types.is_binary(kind) or types.is_large_string(kind) or types.is_large_binary(kind):
        lengths = pyarrow.compute.call_function("binary_length", [column]).fill_null(0)
        return lengths.to_numpy(zero_copy_only=False).astype(numpy.int64)
    if types.is_nested(kind):
        return numpy.array([_nested_size(column.slice(i, 1)) for i in range(len(column))], dtype=numpy.int64)
    return numpy.full(len(column), VALUE_BYTES, dtype=numpy.int64)


def _nested_size(column: Any) -> int:
    """Of a list or a mapping with all that is in it."""
    kind = column.type
    if types.is_struct(kind):
        return sum(_nested_size(part) for part in column.flatten())
    if types.is_map(kind):
        n = sum(
            size or 0
            for size in pyarrow.compute.call_function("list_value_length", [column.cast(_as_list(kind))]).to_pylist()
        )
        if n * VALUE_BYTES > ROW_BYTES:
            return n * VALUE_BYTES
        return _nested_size(column.cast(_as_list(kind)))
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        values = column.flatten()
        n = len(values) * VALUE_BYTES
        return n if n > ROW_BYTES else n + _nested_size(values)
    if types.is_nested(kind):  # a kind of list that Parquet does not give
        return len(column) * VALUE_BYTES
    return int(_sizes(column).sum())


def _as_list(kind: Any) -> Any:
    return pyarrow.list_(pyarrow.struct([("key", kind.key_type), ("value", kind.item_type)]))


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
