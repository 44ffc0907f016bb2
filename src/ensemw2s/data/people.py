"""People's answers: read, checked against a task, and matched to a seed's unlabelled examples."""

import difflib
import json
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ensemw2s.data.annotated import answers_of
from ensemw2s.data.own.labels import spelt_as
from ensemw2s.data.readers.rows import StreamedRow
from ensemw2s.data.readers.stream import format_of, stream_rows
from ensemw2s.errors import DataError
from ensemw2s.examples import Task
from ensemw2s.storage.checksums import file_fault
from ensemw2s.text import from_cell

MERGED = "people.jsonl"
KINDS = (".jsonl", ".csv")
"""File formats of a queue."""
COLUMNS = ("id", "answer")
SUMS = "people.checksums.json"
"""File of checksums beside the merged answers of a run."""


class Questions:
    """Prompts and allowed answers of a task's items, by id."""

    def __init__(self, task: Task):
        self.prompts = {e.id: e.prompt for e in (*task.examples, *task.unlabelled)}
        is_free = task.answer_form == "free"
        self._own = {e.id: e.choices or () for e in (*task.examples, *task.unlabelled)} if is_free else {}
        self._classes = () if is_free else task.choices

    def allowed(self, name: str) -> tuple[str, ...]:
        """Allowed answers of an item; empty where any text is allowed."""
        return self._own.get(name, self._classes)

    def spelt(self, name: str, answer: str) -> str:
        """The allowed answer of which a person's answer is another spelling; else the answer itself."""
        return spelt_as(answer, self.allowed(name)) or answer

    def problem(self, name: str, answer: str) -> str:
        """Why an answer is refused; empty where it is accepted."""
        if name not in self.prompts:
            return f"the task has no id {name!r}; take the ids of the queue"
        allowed = self.allowed(name)
        if allowed and answer not in allowed:
            near = difflib.get_close_matches(answer, allowed, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            return f"the answer {answer!r} is none of {', '.join(map(repr, allowed))}{hint}"
        return ""


def people_rows(file: Path) -> Iterator[StreamedRow]:
    """Rows of a file that people filled in, or of an annotation tool's export; cells of a CSV file are decoded by
    `from_cell`."""
    is_csv = format_of(file).kind == "separated"
    for row in stream_rows(file, COLUMNS):
        if is_csv:
            row = replace(row, columns={n: from_cell(v) if isinstance(v, str) else v for n, v in row.columns.items()})
        for answer in answers_of(row.columns):
            yield replace(row, columns=dict(answer))


def cell(value: Any) -> str | None:
    """Text or whole number of a cell without outer spaces; None for any other kind of value."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value.strip() if isinstance(value, str) else "" if value is None else None


def cell_among(value: Any, known: Container[str]) -> str | None:
    """A cell with its outer spaces where that text is known, else without them as in `cell`."""
    return value if isinstance(value, str) and value in known else cell(value)


def read_people(path: str, task: Task) -> dict[str, str]:
    """Answers by id from a file of merged answers (`students.people`).

    Raises:
        DataError: there is no such file, or a row of it cannot be used; the message names the line.
    """
    file = check_file(path, "students.people")
    if (file.parent / SUMS).exists() and file.name == MERGED and (fault := people_fault(file)):
        raise DataError(
            f"students.people: {file}: not the answers that were merged ({fault}); merge them again, or give a copy in "
            "another folder that you have looked over"
        )
    questions = Questions(task)
    found: dict[str, str] = {}
    for row in people_rows(file):
        name = cell_among(row.columns.get("id"), questions.prompts)
        answer = cell_among(row.columns.get("answer"), questions.allowed(name or ""))
        if row.problem:
            raise DataError(f"{row.place}: {row.problem}")
        if not name or answer is None:
            raise DataError(f"{row.place}: expected a text as id and as answer; merge it with `ensemw2s queue --merge`")
        if not answer:
            continue
        answer = questions.spelt(name, answer)
        problem = questions.problem(name, answer)
        if not problem and found.get(name, answer) != answer:
            problem = f"{name!r} has the answer {answer!r} here and {found[name]!r} before; keep one of them"
        if problem:
            raise DataError(f"{row.place}: students.people: {problem}")
        found[name] = answer
    return found


def people_fault(path: Path) -> str | None:
    """What is wrong with merged answers, by their checksums; None if nothing, or if there are none."""
    sums = path.parent / SUMS
    if not sums.exists() and not sums.is_symlink():
        is_there = path.exists() or path.is_symlink()
        return f"{SUMS} is missing" if is_there else None
    try:
        states = json.loads(sums.read_bytes())["states"] if sums.is_file() else []
        faults = [file_fault(path, state) for state in states]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        faults = []
    if not faults:
        return f"{SUMS} is unreadable"
    return None if None in faults else faults[0]


def check_file(path: str, setting: str) -> Path:
    """Check that a file exists and has a known format. Raises DataError."""
    file = Path(path)
    format_of(file, f"{setting}: {path}")
    if not file.is_file():
        what = "not a file; give one that can be read again" if file.exists() else "there is no such file"
        raise DataError(f"{setting}: {path}: {what}; check the path")
    return file


def people_among(people: Mapping[str, str], names: Sequence[str]) -> dict[int, str]:
    """People's answers to these examples, by position."""
    return {i: people[name] for i, name in enumerate(names) if name in people}


def people_note(used: Mapping[int, int], n_people: int) -> list[str]:
    """Note for the results: number of answers used, by seed."""
    if not n_people:
        return []
    each = ", ".join(f"{n} (seed {seed})" for seed, n in used.items())
    return [
        f"People answered {n_people} items; of these the students learned, in place of weak labels, {each}. The strong "
        "model on easy labels learned none of them, so a student's lead over it is partly theirs."
    ]
