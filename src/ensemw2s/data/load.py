"""A task's examples, and what every one of them must satisfy before any work starts."""

import math
from dataclasses import replace

from ensemw2s.config import TaskSettings
from ensemw2s.data.own.votes import read_votes
from ensemw2s.errors import DataError
from ensemw2s.examples import Example, Task


def load_task(settings: TaskSettings) -> Task:
    """Load and validate a task, with the votes of outside voters where it has some. Raises DataError."""
    task = settings.load()
    validate_task(task)
    return task if settings.votes is None else replace(task, votes=read_votes(settings.votes, task))


def validate_task(task: Task) -> None:
    """Refuse what no experiment can use.

    Raises:
        DataError: there are no examples, a class or an id twice, an empty prompt, no answer, an unknown answer (of a
            free task also: one that is not among the question's own options), a difficulty that is no finite number,
            or a single class.
    """
    if not task.examples:
        raise DataError(f"{task.name}: it has no examples; check the file and the settings under task")
    if len(set(task.choices)) < len(task.choices):
        raise DataError(f"{task.name}: task.choices names a class twice: {list(task.choices)}; name each once")
    seen: set[str] = set()
    known = set(task.choices)  # a table of answers has thousands
    is_free = task.answer_form == "free"
    labelled = (*task.examples, *task.test, *(e for e in task.unlabelled if e.answer is not None))
    for example in (*task.examples, *task.test, *task.unlabelled):
        if example.id in seen:
            raise DataError(f"{task.name}: the id {example.id!r} occurs twice; ids must be unique")
        seen.add(example.id)
        if not example.prompt.strip():
            raise DataError(f"{task.name}, example {example.id!r}: its prompt is empty; give it a text or drop it")
        if example.difficulty is not None and not math.isfinite(example.difficulty):
            raise DataError(
                f"{task.name}, example {example.id!r}: its difficulty {example.difficulty} is no finite number; mend it"
            )
    for example in labelled:
        if is_free:
            _validate_answer(task.name, example, known)
        elif example.answer not in known:
            raise DataError(
                f"{task.name}, example {example.id!r}: its answer {example.answer!r} is none of {list(task.choices)}; "
                "mend the answer or task.choices"
            )
    found = {e.answer for e in task.examples}
    if len(found) < 2:
        needs = "a task needs two different answers" if is_free else "a classifier needs two classes"
        raise DataError(f"{task.name}: all {len(task.examples)} answers are {found.pop()!r}; {needs}")


def _validate_answer(name: str, example: Example, known: set[str]) -> None:
    """Of a free task; the table of answers is too long to print."""
    place = f"{name}, example {example.id!r}"
    if not example.answer or not example.answer.strip():
        raise DataError(f"{place}: its answer {example.answer!r} is empty; give it a text or drop the example")
    if example.answer not in known:
        raise DataError(
            f"{place}: its answer {example.answer!r} is not in the table of the {len(known)} answers (Task.choices); "
            "add it there"
        )
    if example.choices is not None and example.answer not in example.choices:
        raise DataError(
            f"{place}: its answer {example.answer!r} is none of its options {list(example.choices)}; mend the answer "
            "or the options"
        )
