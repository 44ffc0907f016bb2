"""Prompts of a file's rows; a bad row does not stop the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ensemw2s.data.own.cells import name_of
from ensemw2s.data.readers.load import iterate_rows
from ensemw2s.data.readers.stream import reason_of, stream_rows
from ensemw2s.data.templates.template import template
from ensemw2s.errors import DataError
from ensemw2s.pictures import folder_of, placed


@dataclass(frozen=True, slots=True)
class Prompted:
    """A row's id, columns and prompt, or why it has none."""

    place: str
    id: str | None
    columns: dict[str, Any]
    prompt: str | None
    problem: str
    """Why there is no prompt; empty where there is one."""


def prompts_of(
    path: str,
    prompt: str,
    *,
    id_column: str | None = None,
    columns: Sequence[str] | None = None,
    split: str = "train",
) -> list[Prompted]:
    """Fill the template with each row's columns. Paths of pictures count from the file's folder.

    Args:
        id_column: of names of the rows; None uses row-1, row-2 and so on.
        columns: that are needed beside the template's; None: all that there are.

    Raises:
        DataError: the file cannot be read as a whole, or has no rows; the template is malformed.
    """
    parsed = template(prompt)
    file = Path(path)
    if file.exists() and not file.is_dir():
        needed = {*parsed.columns, *([id_column] if id_column else []), *(columns or [])}
        streamed = stream_rows(file, sorted(needed), rest=columns is None)
        rows = [(r.place, r.columns, r.problem) for r in streamed]
    else:
        rows = [(place, columns, "") for place, columns in iterate_rows(path, split=split)]
    if not rows:
        raise DataError(f"{path}: the file has no rows; give at least one")
    folder = folder_of(path)
    found: list[Prompted] = []
    for number, (place, row, problem) in enumerate(rows, start=1):
        name = None
        try:
            if problem:
                raise DataError(problem)
            name = f"row-{number}" if id_column is None else name_of(place, row, id_column, "--id")
            text = placed(parsed.render(place, row), folder, place)
            found.append(Prompted(place, name, row, text, ""))
        except DataError as error:
            found.append(Prompted(place, name, row, None, reason_of(error, place)))
    return found
