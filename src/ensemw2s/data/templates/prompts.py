"""Prompts of a file's rows; a bad row does not stop the others."""

from dataclasses import dataclass
from pathlib import Path

from ensemw2s.data.readers.load import iterate_rows
from ensemw2s.data.readers.stream import reason_of, stream_rows
from ensemw2s.data.templates.template import template
from ensemw2s.errors import DataError


@dataclass(frozen=True, slots=True)
class Prompted:
    """A row's prompt, or why it has none."""

    place: str
    prompt: str | None
    problem: str
    """Why there is no prompt; empty where there is one."""


def prompts_of(path: str, prompt: str, *, split: str = "train") -> list[Prompted]:
    """Fill the template with each row's columns.

    Raises:
        DataError: the file cannot be read as a whole, or has no rows; the template is malformed.
    """
    parsed = template(prompt)
    file = Path(path)
    if file.exists() and not file.is_dir():
        rows = [(r.place, r.columns, r.problem) for r in stream_rows(file, list(parsed.columns))]
    else:
        rows = [(place, columns, "") for place, columns in iterate_rows(path, split=split)]
    if not rows:
        raise DataError(f"{path}: the file has no rows; give at least one")
    found: list[Prompted] = []
    for place, columns, problem in rows:
        try:
            if problem:
                raise DataError(problem)
            found.append(Prompted(place, parsed.render(place, columns), ""))
        except DataError as error:
            found.append(Prompted(place, None, reason_of(error, place)))
    return found
