"""Rows of a file, of a `datasets` folder or of a hub data set, each with its place for error messages."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ensemw2s.data.readers.class_names import named, names_of
from ensemw2s.data.readers.rows import BadRow, check_header, check_row
from ensemw2s.data.readers.stream import stream_rows
from ensemw2s.errors import DataError

Row = tuple[str, dict[str, Any]]
"""Place of a row (file and line), and its columns."""


def read_rows(path: str, *, split: str = "train") -> list[Row]:
    """All rows of `path`, as `iterate_rows` gives them.

    Raises:
        DataError: as `iterate_rows`.
    """
    return list(iterate_rows(path, split=split))


def iterate_rows(path: str, *, split: str = "train") -> Iterator[Row]:
    """The rows of `path`, a file of one of `data.stream.FORMATS`, a folder saved by `datasets`, or hub:OWNER/NAME.

    Raises:
        DataError: there is no such file, it is empty, of an unknown kind, or a line of it cannot be read; the hub
            cannot be reached, or has no such data set.
    """
    if path.startswith("hub:"):
        rows = _from_hub(path.removeprefix("hub:"), split)
    elif not Path(path).exists():
        raise DataError(f"{path}: there is no such file or folder; check the path (task.path, or --input)")
    elif Path(path).is_dir():
        rows = _from_folder(Path(path), split)
    else:
        rows = _from_file(Path(path))
    n_rows = 0
    for n_rows, row in enumerate(rows, start=1):  # noqa: B007
        yield row
    if not n_rows:
        raise DataError(f"{path}: the file has no rows; give at least one example per part of the split")


def text_in(place: str, row: dict[str, Any], column: str) -> str:
    """The text of a column of a published data set, without outer spaces.

    Raises:
        DataError: there is none, or it is empty.
    """
    value = row.get(column)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{place}: {column!r} must be a text, got {value!r:.80}; get the file anew")
    return value.strip()


def _from_file(path: Path) -> Iterator[Row]:
    for row in stream_rows(path, None):
        place = row.place if row.origin.endswith(" ") else f"{path} line {row.line}"
        if row.problem:
            raise DataError(f"{place}: {row.problem}")
        yield place, row.columns


def _from_folder(path: Path, split: str) -> Iterator[Row]:
    import datasets

    try:
        found = datasets.load_from_disk(str(path))
    except (
        KeyError,
        TypeError,
        AttributeError,
        ValueError,
        OSError,
    ) as error:  # the library does not check its own records
        raise DataError(
            f"{path}: a folder, but not one that datasets.save_to_disk wrote ({' '.join(str(error).split())[:200]}); "
            "name a file or such a folder"
        ) from None
    return _split_rows(found, str(path), split)


def _from_hub(name: str, split: str) -> Iterator[Row]:
    import datasets
    from datasets.exceptions import DatasetsError

    try:
        found = datasets.load_dataset(name, split=split)  # also takes slices and sums of splits
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        raise DataError(
            f"hub:{name}: cannot be loaded ({' '.join(str(error).split())[:200]}); check the name, the split "
            f"({split!r}) and the network, or save it on a machine that has one with datasets.save_to_disk and give "
            "that folder"
        ) from None
    return _split_rows(found, f"hub:{name}", split)


def _split_rows(found: Any, place: str, split: str) -> Iterator[Row]:
    if isinstance(found, dict):
        if split not in found:
            known = ", ".join(map(repr, found))
            raise DataError(
                f"{place}: it has no split {split!r}, only {known}; name one (task.split, task.unlabelled_split, "
                "task.test_split, or --split)"
            )
        found = found[split]
    check_header(found.column_names, (), place)
    names = names_of(found.features or {})
    for number, row in enumerate(found, start=1):
        try:
            yield f"{place} row {number}", check_row(named(row, names))
        except BadRow as error:
            raise DataError(f"{place} row {number}: {error}") from None
