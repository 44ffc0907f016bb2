"""Answers of a student or an ensemble as rows of a table, in the format that the file's name says."""

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from ensemw2s.data.templates.template import no_column
from ensemw2s.errors import ConfigError, DataError
from ensemw2s.storage.files import new_file
from ensemw2s.storage.records import json_line

OURS = ("id", "answer", "confidence", "members", "agreement", "error")
"""Columns of every table of answers, beside those of the input."""
FURTHER = (
    "filled_prompt",
    "probability",
    "tokens",
    "token_log_probs",
    "is_finished",
    "expert_ids",
    "expert_weights",
    "config_hash",
)
"""Columns that a table has where they are asked for, as far as whoever answers knows them."""
RESERVED = (*OURS, *FURTHER)
"""A column of the input with such a name becomes `input_NAME`."""
FORMATS = (".csv", ".jsonl", ".parquet")
ROWS = 4096
"""Rows of Parquet that are written at a time."""

Row = Mapping[str, Any]


def answer_row(
    name: str | None,
    columns: Row,
    said: Row,
    *,
    id_column: str | None = None,
    wanted: Sequence[str] | None = None,
    error: str = "",
) -> dict[str, Any]:
    """One row: its id, the input's columns, what was answered, and why nothing was if so.

    Args:
        said: the answer, its confidence, members' answers and agreement; what else is known goes into `wanted` columns.
        wanted: columns of the row; None takes the input's and OURS.
    """
    theirs = {f"input_{column}" if column in RESERVED else column: plain(value) for column, value in columns.items()}
    if id_column == "id":
        theirs.pop("input_id", None)
    row = {"id": name, **theirs} | {column: said.get(column) for column in OURS[1:-1]}
    if error:
        row["error"] = error
    return row if wanted is None else {column: row.get(column, said.get(column)) for column in wanted}


def inputs_among(wanted: Sequence[str]) -> list[str]:
    """The columns of the input among these columns of a table."""
    names = [name.removeprefix("input_") if name.removeprefix("input_") in RESERVED else name for name in wanted]
    return [name for name, column in zip(names, wanted, strict=True) if column not in RESERVED]


def check_columns(wanted: Sequence[str], rows: Iterable[Row], place: str) -> None:
    """Raises DataError where one of the wanted columns is none of ours, and no row has it."""
    asked = inputs_among(wanted)
    known = dict.fromkeys(column for row in rows for column in row) if asked else {}
    for column in asked:
        if known and column not in known:
            raise DataError(f"{place}: {no_column(column, [*known, *RESERVED], '--columns')}")


def plain(value: Any) -> Any:
    """The value as JSON has it: dates and the like as text, no number that is none."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value if value is None or isinstance(value, str | int) else str(value)


def table_format(path: Path) -> str | None:
    """The suffix, where it is one of FORMATS."""
    suffix = path.suffix.lower()
    return suffix if suffix in FORMATS else None


def check_table(path: Path) -> None:
    """Raises ConfigError where the name does not say a format, or a folder stands there."""
    if table_format(path) is None:
        raise ConfigError(f"--output {path}: cannot tell the format from its name; let it end in {', '.join(FORMATS)}")
    if path.is_dir():
        raise ConfigError(f"--output {path}: a folder stands where a file is to be written; choose another name")


def write_table(path: Path, rows: Callable[[], Iterable[Row]]) -> None:
    """Write the rows as CSV, JSONL or Parquet, whole or not at all. Memory does not grow with the number of rows.

    Args:
        rows: asked twice, first for the columns and their types.

    Raises:
        RunError: the disk refuses.
    """
    with new_file(path) as temporary:
        {".csv": _write_csv, ".jsonl": _write_jsonl, ".parquet": _write_parquet}[path.suffix.lower()](temporary, rows)


def _write_jsonl(path: Path, rows: Callable[[], Iterable[Row]]) -> None:
    with path.open("wb") as file:
        file.writelines(json_line(dict(row)) for row in rows())


def _write_csv(path: Path, rows: Callable[[], Iterable[Row]]) -> None:
    columns = list(dict.fromkeys(column for row in rows() for column in row))
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        table = csv.writer(file)
        table.writerow(columns)
        table.writerows([_cell(row.get(column)) for column in columns] for row in rows())


def _cell(value: Any) -> Any:
    return _json(value) if isinstance(value, bool | list | dict) else value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _write_parquet(path: Path, rows: Callable[[], Iterable[Row]]) -> None:
    import pyarrow  # which takes a second to import
    import pyarrow.parquet

    kinds: dict[str, Any] = {}
    for chunk in _chunks(rows()):
        for column in dict.fromkeys(column for row in chunk for column in row):
            kinds[column] = _common(pyarrow, kinds.get(column, pyarrow.null()), [row.get(column) for row in chunk])
    schema = pyarrow.schema([(column, kind or pyarrow.string()) for column, kind in kinds.items()])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for chunk in _chunks(rows()):
            values = {
                column: [_text(row.get(column)) if kind is None else row.get(column) for row in chunk]
                for column, kind in kinds.items()
            }
            writer.write_table(pyarrow.table(values, schema=schema))


def _common(pyarrow: Any, kind: Any, values: Sequence[Any]) -> Any:
    """The type of a column's values so far; None where they have none in common, and are written as text."""
    if kind is None:
        return None
    try:
        fields = [pyarrow.schema([("it", each)]) for each in (kind, pyarrow.array(values).type)]
        return pyarrow.unify_schemas(fields, promote_options="permissive").field("it").type
    except (pyarrow.ArrowException, OverflowError, UnicodeEncodeError):
        return None


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return (value if isinstance(value, str) else _json(value)).encode(errors="backslashreplace").decode()


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    it = iter(rows)
    while chunk := list(islice(it, ROWS)):
        yield chunk
