"""Rows of a file, a `datasets` folder or a hub name, each with the place that an error names."""

import codecs
import csv
import io
import json
from pathlib import Path
from typing import Any

from ensemw2s.data.class_names import named, names_in_parquet, names_of
from ensemw2s.errors import DataError

Row = tuple[str, dict[str, Any]]
"""Where the row stands (file and line), and its columns."""


def read_rows(path: str, *, split: str = "train") -> list[Row]:
    """All rows of `path`: .jsonl, .csv, .parquet, a folder saved by `datasets`, or hub:OWNER/NAME.

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
    elif (reader := READERS.get(Path(path).suffix.lower())) is None:
        raise DataError(f"{path}: cannot tell the format from {Path(path).suffix!r}; use one of {', '.join(READERS)}")
    else:
        rows = reader(Path(path))
    if not rows:
        raise DataError(f"{path}: the file has no rows; give at least one example per part of the split")
    return rows


def _read_jsonl(path: Path) -> list[Row]:
    rows: list[Row] = []
    # Bytes are split at newlines only: text may hold other line separators, and the number must be the editor's.
    for number, line in enumerate(_bytes(path).removeprefix(codecs.BOM_UTF8).split(b"\n"), start=1):
        place = f"{path} line {number}"
        if (row := json_row(line, place)) is not None:
            rows.append((place, row))
    return rows


def json_row(line: bytes, place: str) -> dict[str, Any] | None:
    """The columns in one line of JSONL; None where the line is blank.

    Raises:
        DataError: the line is not UTF-8, not JSON or not an object; the message begins with `place`.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: not UTF-8 (byte {error.start + 1}); save the file as UTF-8") from None
    if not text.strip():
        return None
    try:
        row = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{place}, column {error.colno}: not valid JSON ({error.msg}); mend or delete the line"
        ) from None
    except (ValueError, RecursionError) as error:  # an integer of thousands of digits, brackets in the thousands
        raise DataError(f"{place}: JSON that cannot be read ({error}); mend or delete the line") from None
    if not isinstance(row, dict):
        raise DataError(f'{place}: expected an object like {{"prompt": ...}}, got {type(row).__name__}; mend the line')
    return row


def _read_csv(path: Path) -> list[Row]:
    """Every value stays text: "NA" is an answer, and 007 keeps its zeros."""
    raw = _bytes(path)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path} line {line}: not UTF-8; save the file as UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    rows: list[Row] = []
    done = 0  # a quoted value may hold newlines: a row is named by its first line
    try:
        for values in reader:
            place, done = f"{path} line {done + 1}", reader.line_num
            if not values:
                continue
            if not header:
                header = values
                if twice := sorted({name for name in header if header.count(name) > 1}):
                    raise DataError(f"{place}: two columns are named {twice[0]!r}; rename one of them")
            elif len(values) != len(header):
                raise DataError(
                    f"{place}: {len(values)} values for {len(header)} columns; put quotes around a value that holds "
                    "a comma, or fill in what is missing"
                )
            else:
                rows.append((place, dict(zip(header, values, strict=True))))
    except csv.Error as error:
        raise DataError(f"{path} line {done + 1}: not valid CSV ({error}); mend that line") from None
    return rows


def _read_parquet(path: Path) -> list[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            f"{path}: not a whole Parquet file ({' '.join(str(error).split())[:200]}); write it again"
        ) from None
    names = names_in_parquet(table.schema.metadata)
    return [(f"{path} row {i + 1}", named(row, names)) for i, row in enumerate(table.to_pylist())]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: the file cannot be read ({error.strerror}); check its permissions") from None


READERS = {".jsonl": _read_jsonl, ".csv": _read_csv, ".parquet": _read_parquet}


def _from_folder(path: Path, split: str) -> list[Row]:
    import datasets

    try:
        found = datasets.load_from_disk(str(path))
    except (KeyError, TypeError, AttributeError, ValueError, OSError) as error:  # it trusts its records blindly
        raise DataError(
            f"{path}: a folder, but not one that datasets.save_to_disk wrote ({' '.join(str(error).split())[:200]}); "
            "name a file or such a folder"
        ) from None
    return _split_rows(found, str(path), split)


def _from_hub(name: str, split: str) -> list[Row]:
    import datasets
    from datasets.exceptions import DatasetsError

    try:
        found = datasets.load_dataset(name, split=split)  # which takes slices and sums of splits
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        raise DataError(
            f"hub:{name}: cannot be loaded ({' '.join(str(error).split())[:200]}); check the name, the split "
            f"({split!r}) and the network, or save it on a machine that has one with datasets.save_to_disk and give "
            "that folder"
        ) from None
    return _split_rows(found, f"hub:{name}", split)


def _split_rows(found: Any, place: str, split: str) -> list[Row]:
    if isinstance(found, dict):
        if split not in found:
            known = ", ".join(map(repr, found))
            raise DataError(
                f"{place}: it has no split {split!r}, only {known}; name one (task.split, task.unlabelled_split, "
                "task.test_split, or --split)"
            )
        found = found[split]
    names = names_of(found.features or {})
    return [(f"{place} row {i + 1}", named(row, names)) for i, row in enumerate(found)]
