"""The tasks by name, and what every one of them must satisfy before any work starts."""

import math
from collections.abc import Callable

from ensemw2s.config import TaskConfig
from ensemw2s.data.arc import load_arc
from ensemw2s.data.files import load_files
from ensemw2s.data.geofacts import geo_facts
from ensemw2s.errors import DataError
from ensemw2s.types import Task

TASKS: dict[str, Callable[[TaskConfig], Task]] = {
    "geo-facts": lambda config: geo_facts(seed=config.seed, max_per_country=config.max_per_country),
    "arc": lambda config: load_arc(str(config.path), difficulty=config.arc_difficulty, seed=config.seed),
    "files": load_files,
}


def load_task(config: TaskConfig) -> Task:
    """Load and validate a task. Raises DataError."""
    task = TASKS[config.name](config)
    validate_task(task)
    return task


def validate_task(task: Task) -> None:
    """Refuse what no experiment can use.

    Raises:
        DataError: there are no examples, a class or an id twice, an empty prompt, no answer, an unknown answer, a
            difficulty that is no finite number, or a single class.
    """
    if not task.examples:
        raise DataError(f"{task.name}: it has no examples; check the file and the settings under task")
    if len(set(task.choices)) < len(task.choices):
        raise DataError(f"{task.name}: task.choices names a class twice: {list(task.choices)}; name each once")
    seen: set[str] = set()
    for example in task.examples:
        if example.id in seen:
            raise DataError(f"{task.name}: the id {example.id!r} occurs twice; ids must be unique")
        seen.add(example.id)
        if not example.prompt.strip():
            raise DataError(f"{task.name}, example {example.id!r}: its prompt is empty; give it a text or drop it")
        if example.answer not in task.choices:
            raise DataError(
                f"{task.name}, example {example.id!r}: its answer {example.answer!r} is none of {list(task.choices)}; "
                "mend the answer or task.choices"
            )
        if example.difficulty is not None and not math.isfinite(example.difficulty):
            raise DataError(
                f"{task.name}, example {example.id!r}: its difficulty {example.difficulty} is no finite number; mend it"
            )
    found = {e.answer for e in task.examples}
    if len(found) < 2:
        raise DataError(
            f"{task.name}: all {len(task.examples)} answers are {found.pop()!r}; a classifier needs two classes"
        )
