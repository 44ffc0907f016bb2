"""The tasks by name, and what every one of them must satisfy before any work starts."""

import math
from collections.abc import Callable

from ensemw2s.config import TaskConfig
from ensemw2s.data.tasks.arc import load_arc
from ensemw2s.data.tasks.files import load_files
from ensemw2s.data.tasks.geo_countries import geo_countries
from ensemw2s.data.tasks.geo_facts import geo_facts
from ensemw2s.data.tasks.problems import load_gsm8k, load_svamp
from ensemw2s.data.tasks.questions import load_arc_qa, load_openbookqa
from ensemw2s.data.tasks.reasoning import reasoning
from ensemw2s.errors import DataError
from ensemw2s.records import Example, Task

TASKS: dict[str, Callable[[TaskConfig], Task]] = {
    "geo-facts": lambda config: geo_facts(seed=config.seed, max_per_country=config.max_per_country),
    "arc": lambda config: load_arc(str(config.path), difficulty=config.arc_difficulty, seed=config.seed),
    "files": load_files,
    "geo-countries": lambda config: geo_countries(
        max_per_country=config.max_per_country, n_countries=config.n_countries
    ),
    "reasoning": lambda config: reasoning(
        seed=config.seed,
        reasoning_task=config.reasoning_task,
        n_examples=config.n_examples,
        max_level=config.max_level,
    ),
    "arc-qa": lambda config: load_arc_qa(
        str(config.path), difficulty=config.arc_difficulty, show_options=config.show_options
    ),
    "openbookqa": lambda config: load_openbookqa(str(config.path), show_options=config.show_options),
    "gsm8k": lambda config: load_gsm8k(str(config.path), worked=config.worked),
    "svamp": lambda config: load_svamp(str(config.path)),
}


def load_task(config: TaskConfig) -> Task:
    """Load and validate a task. Raises DataError."""
    task = TASKS[config.name](config)
    validate_task(task)
    return task


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
    labelled = (*task.examples, *task.test)
    for example in (*labelled, *task.unlabelled):
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
