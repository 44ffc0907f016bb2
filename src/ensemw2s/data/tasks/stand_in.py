"""Generated questions in the form of a task's own files: its loader runs as ever, and no data set is needed.

There is something to learn in them, so that no experiment stops because its first expert is no better than chance.
"""

import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ensemw2s.config import TaskConfig
from ensemw2s.data.tasks.arc import PARTS, SCALES, SETS
from ensemw2s.data.tasks.questions import OPENBOOKQA_FILES
from ensemw2s.data.templates.template import template

N = 200
"""Questions of a file: enough that a side of a fifth of them fills its parts."""
COLOURS = ("red", "green", "blue", "grey")
Row = dict[str, Any]


def stand_in(task: TaskConfig) -> dict[str, str]:
    """Names and contents of the files that stand for what the task reads; none for an embedded one.

    Raises:
        DataError: the prompt template is malformed.
    """
    return WRITERS[task.name](task) if task.name in WRITERS else {}


def small(task: TaskConfig, folder: Path) -> TaskConfig:
    """The task that reads the stand-ins in `folder`, or the embedded one cut to a few hundred questions."""
    if task.name == "files":
        files = {part: str(folder / f"{part}.jsonl") for part in ("path", "unlabelled", "test") if getattr(task, part)}
        return task.model_copy(update=files)
    if task.name in WRITERS:
        return task.model_copy(update={"path": str(folder)})
    countries = {"max_per_country": 4} if task.name == "geo-facts" else {"max_per_country": 40, "n_countries": 8}
    return task.model_copy(update={"n_examples": N, **countries})


def _files(task: TaskConfig) -> dict[str, str]:
    parts = [part for part in ("path", "unlabelled", "test") if getattr(task, part)]
    return {f"{part}.jsonl": _lines(_row(task, N * p + i) for i in range(N)) for p, part in enumerate(parts)}


def _row(task: TaskConfig, i: int) -> Row:
    """Every column that the task's settings name, as text that tells the answer."""
    among = task.choices or ("no", "yes")
    if task.options:
        among = COLOURS if len(task.options) == 1 else tuple(f"colour {n}" for n in range(len(task.options)))
    k = i % len(among)
    derived = {"candidate", "other"} if task.right else {"options"} if task.options else set()
    row: Row = {c: f"{c} has {among[k]} in {i}" for c in template(task.prompt).columns if c not in derived}
    if len(task.options) == 1:
        _put(row, task.options[0], list(among))
    else:
        row |= dict(zip(task.options, among, strict=False))
    if task.right:
        row |= {task.right: f"true {i}"} | {column: f"false {i} {column}" for column in task.wrong}
    else:
        names = {"text": among[k], "letter": string.ascii_uppercase[k % 26], "index": k, "number": k + 1}
        row[task.answer] = names[task.answer_as]
    if task.difficulty:
        row[task.difficulty] = i * 37 % N  # each value once, in another order than the rows'
    row |= {column: row.get(column, f"{column} {i}") for column in (task.id, task.group) if column}
    return row


def _put(row: Row, column: str, value: Any) -> None:
    """Set a column, or the entry of one that `choices.text` means."""
    *parents, last = column.split(".")
    for name in parents:
        if not isinstance(row.get(name), dict):
            row[name] = {}
        row = row[name]
    row[last] = value


def _question(i: int) -> Row:
    """In the form of ARC and OpenBookQA."""
    right = i % len(COLOURS)
    choices = [{"text": colour, "label": label} for colour, label in zip(COLOURS, "ABCD", strict=True)]
    stem = f"Which colour has ball {i}, which is {COLOURS[right]}?"
    return {"id": f"Q{i}", "question": {"stem": stem, "choices": choices}, "answerKey": "ABCD"[right]}


def _arc(task: TaskConfig) -> dict[str, str]:
    names = [f"ARC-{name}-{part}" for name, _ in SETS for part in PARTS]
    questions = {name: [_question(i) for i in range(N) if i % len(names) == n] for n, name in enumerate(names)}
    files = {f"{name}.jsonl": _lines(rows) for name, rows in questions.items()}
    if task.arc_difficulty != "set":
        scale = list(SCALES[task.arc_difficulty])
        keys = [
            f"{'ARCEZ' if 'Easy' in name else 'ARCCH'}_{row['id']}" for name, rows in questions.items() for row in rows
        ]
        rated = {key: {task.arc_difficulty: scale[n % len(scale)]} for n, key in enumerate(keys)}
        files["annotations.json"] = json.dumps(rated)
    return files


def _openbookqa(task: TaskConfig) -> dict[str, str]:
    rows = [_question(i) | {"humanScore": f"{i * 37 % N / N:.4f}"} for i in range(N)]
    return {name: _lines(rows[n :: len(OPENBOOKQA_FILES)]) for n, name in enumerate(OPENBOOKQA_FILES)}


def _gsm8k(task: TaskConfig) -> dict[str, str]:
    def problem(i: int) -> Row:
        n_steps = 1 + i % 4
        steps = "".join(f"{i} balls and {n} make <<{i}+{n}={i + n}>>{i + n}.\n" for n in range(1, n_steps + 1))
        question = f"There are {i} balls. How many are there with {n_steps} more?"
        return {"question": question, "answer": f"{steps}#### {i + n_steps}"}

    return {f"{part}.jsonl": _lines(problem(i) for i in range(N) if i % 2 == p) for p, part in enumerate(GSM8K_PARTS)}


def _svamp(task: TaskConfig) -> dict[str, str]:
    def problem(i: int) -> Row:
        n = 1 + i % 3
        return {
            "ID": f"q-{i}",
            "Body": f"There are {i} balls",
            "Question": f"How many are there with {n} more?",
            "Equation": f"{i} " + "+ 1 " * n,
            "Answer": float(i + n),
        }

    return {"SVAMP.json": json.dumps([problem(i) for i in range(N)])}


def _lines(rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


GSM8K_PARTS = ("train", "test")
WRITERS: dict[str, Callable[[TaskConfig], dict[str, str]]] = {
    "files": _files,
    "arc": _arc,
    "arc-qa": _arc,
    "openbookqa": _openbookqa,
    "gsm8k": _gsm8k,
    "svamp": _svamp,
}
