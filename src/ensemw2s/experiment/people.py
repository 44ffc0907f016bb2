"""Answers that people gave: read, checked against a task, and found again in a seed's unlabelled examples."""

import difflib
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ensemw2s.data.stream import StreamedRow, stream_rows
from ensemw2s.errors import DataError
from ensemw2s.text import from_cell
from ensemw2s.types import Task

KINDS = (".jsonl", ".csv")
COLUMNS = ("id", "answer")


class Questions:
    """What may be asked: the prompt of every id and the answers that it allows."""

    def __init__(self, task: Task):
        self.prompts = {e.id: e.prompt for e in (*task.examples, *task.unlabelled)}
        is_free = task.answer_form == "free"
        self._own = {e.id: e.choices or () for e in (*task.examples, *task.unlabelled)} if is_free else {}
        self._classes = () if is_free else task.choices

    def allowed(self, name: str) -> tuple[str, ...]:
        """Empty where any text may be the answer."""
        return self._own.get(name, self._classes)

    def problem(self, name: str, answer: str) -> str:
        """Why a row cannot be taken; empty where it can."""
        if name not in self.prompts:
            return f"the task has no id {name!r}; take the ids of the queue"
        allowed = self.allowed(name)
        if allowed and answer not in allowed:
            near = difflib.get_close_matches(answer, allowed, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            return f"the answer {answer!r} is none of {', '.join(map(repr, allowed))}{hint}"
        return ""


def people_rows(file: Path) -> Iterator[StreamedRow]:
    """The rows of a file that people filled in; a cell of a CSV file is the text that `to_cell` made it of."""
    is_csv = file.suffix.lower() == ".csv"
    for row in stream_rows(file, COLUMNS):
        if is_csv:
            row = replace(row, columns={n: from_cell(v) if isinstance(v, str) else v for n, v in row.columns.items()})
        yield row


def cell(value: Any) -> str | None:
    """A text or whole number of a cell, without outer spaces; None for any other kind of value."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value.strip() if isinstance(value, str) else "" if value is None else None


def cell_among(value: Any, known: Container[str]) -> str | None:
    """A cell as it stands where that is known, with its outer spaces; else as `cell` has it."""
    return value if isinstance(value, str) and value in known else cell(value)


def read_people(path: str, task: Task) -> dict[str, str]:
    """id to answer, of a file that was merged (`students.people`).

    Raises:
        DataError: there is no such file, or a row of it cannot be used; the message names the line.
    """
    file = check_file(path, "students.people")
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
        problem = questions.problem(name, answer)
        if not problem and found.get(name, answer) != answer:
            problem = f"{name!r} has the answer {answer!r} here and {found[name]!r} before; keep one of them"
        if problem:
            raise DataError(f"{row.place}: students.people: {problem}")
        found[name] = answer
    return found


def check_file(path: str, setting: str) -> Path:
    """The file, which is there and of a known kind. Raises DataError."""
    file = Path(path)
    if file.suffix.lower() not in KINDS:
        raise DataError(f"{setting}: {path} must end in {' or '.join(KINDS)}")
    if not file.is_file():
        raise DataError(f"{setting}: {path}: there is no such file; check the path")
    return file


def people_among(people: Mapping[str, str], names: Sequence[str]) -> dict[int, str]:
    """Place among these examples to the answer that a person gave."""
    return {i: people[name] for i, name in enumerate(names) if name in people}


def people_note(used: Mapping[int, int], n_people: int) -> list[str]:
    """What the results say of them: seed to how many answers it used."""
    if not n_people:
        return []
    each = ", ".join(f"{n} (seed {seed})" for seed, n in used.items())
    return [
        f"People answered {n_people} items; of these the students learned, in place of weak labels, {each}. The strong "
        "model on easy labels learned none of them, so a student's lead over it is partly theirs."
    ]
