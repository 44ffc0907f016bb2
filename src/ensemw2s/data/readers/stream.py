"""Streaming of the rows of a file of any length. A row that cannot be read is yielded with its problem."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ensemw2s.data.readers.json_rows import json_rows
from ensemw2s.data.readers.rows import StreamedRow
from ensemw2s.data.readers.separated import separated_rows
from ensemw2s.data.readers.source import opened
from ensemw2s.errors import DataError
from ensemw2s.text import visible


@dataclass(frozen=True)
class Format:
    """Format of a file, detected by its suffix."""

    kind: str
    """`json`, `separated` or `parquet`."""
    separator: str | None = None
    is_gzip: bool = False


_TEXT = {
    ".jsonl": Format("json"),
    ".json": Format("json"),
    ".csv": Format("separated"),
    ".tsv": Format("separated", "\t"),
}
FORMATS = {
    **_TEXT,
    **{f"{suffix}.gz": Format(each.kind, each.separator, is_gzip=True) for suffix, each in _TEXT.items()},
    ".parquet": Format("parquet"),
}


def format_of(path: Path, shown: str | None = None) -> Format:
    """Format of a file by its suffix. Raises DataError for an unknown one."""
    name = path.name.lower()
    for suffix, file_format in FORMATS.items():
        if name.endswith(suffix):
            return file_format
    end = "".join(path.suffixes[-2:] if name.endswith(".gz") else path.suffixes[-1:])
    raise DataError(f"{shown or path}: cannot tell the format from {end!r}; use one of {', '.join(FORMATS)}")


def total_units(path: Path) -> int:
    """Length of the whole file as known without reading it: rows for Parquet, else bytes."""
    if format_of(path).kind != "parquet":
        return path.stat().st_size
    from ensemw2s.data.readers.parquet import n_parquet_rows  # Arrow takes a second to import

    return n_parquet_rows(path, str(path))


def stream_rows(
    path: Path, columns: Sequence[str] | None, *, rest: bool = False, shown: str | None = None
) -> Iterator[StreamedRow]:
    """Stream the rows of a file of one of FORMATS; memory does not grow with the file.

    Args:
        path: the file.
        columns: columns that are needed; Parquet reads no others. None reads all.
        rest: read the others, too, though nobody needs them.
        shown: name of the file in error messages; None uses its path.

    Raises:
        DataError: the file is of another format than its name says, cut or damaged; the header of a Parquet or CSV
            file lacks one of `columns` or has one twice; the disk cannot be read. Raised before the first row where
            possible.
    """
    name = str(path) if shown is None else shown
    file_format = format_of(path, name)
    try:
        if file_format.kind == "parquet":
            from ensemw2s.data.readers.parquet import parquet_rows

            yield from parquet_rows(path, columns, name, rest=rest)
            return
        with opened(path, name, is_gzip=file_format.is_gzip) as source:
            if file_format.kind == "json":
                yield from json_rows(source, name)
            else:
                yield from separated_rows(source, columns or (), name, file_format.separator)
    except OSError as error:
        raise DataError(f"{path}: the file cannot be read ({error.strerror or error}); check its permissions") from None


def reason_of(error: DataError, place: str) -> str:
    """The message of an error without its place, shortened where a value makes it long."""
    text = str(error).removeprefix(visible(place)).lstrip(":, ")
    return text if len(text) <= 500 else f"{text[:400]} … {text[-90:]}"
