"""Your own data: rows of a file as classification examples, through a prompt template and named columns."""

import difflib
import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ensemw2s.config import TaskConfig
from ensemw2s.data.load import Row, iterate_rows
from ensemw2s.data.options import chosen, options_of
from ensemw2s.data.pairs import pair_of
from ensemw2s.data.template import no_column, template
from ensemw2s.errors import DataError
from ensemw2s.types import Example, Task

Placed = tuple[str, Example]
"""An example with its place in the file."""
PAIR_CHOICES = ("no", "yes")
"""Classes of `right` and `wrong`, where none are given."""


def load_files(config: TaskConfig) -> Task:
    """Read `config.path`, and the unlabelled and the test questions where they have files of their own.

    Raises:
        DataError: a column is missing, a value empty or of the wrong type, an answer unknown, an id used twice.
    """
    assert config.path is not None  # the configuration refuses it
    labelled = _read(config, config.path, config.split)
    unlabelled, test = [], []
    if config.unlabelled:
        unlabelled = _read(config, config.unlabelled, config.unlabelled_split, "unlabelled/", is_labelled=False)
    if config.test:
        test = _read(config, config.test, config.test_split, "test/")
    if config.answer_form == "free":
        choices = _table([*labelled, *test])
    else:
        choices = config.choices or (PAIR_CHOICES if config.right else _table(labelled))
        labelled, unlabelled, test = (_classed(found, choices, config) for found in (labelled, unlabelled, test))
    meaning = f"the column {config.difficulty!r}" if config.difficulty else "not given"
    return Task(
        config.path,
        tuple(e for _, e in labelled),
        choices,
        f"your own data, {', '.join(name for name in (config.path, config.unlabelled, config.test) if name)}",
        "0 for the labelled file, 1 for the others" if config.unlabelled else meaning,
        answer_form=config.answer_form,
        unlabelled=tuple(e for _, e in unlabelled),
        test=tuple(e for _, e in test),
    )


def _read(config: TaskConfig, path: str, split: str, prefix: str = "", *, is_labelled: bool = True) -> list[Placed]:
    """The rows of one file as examples, each with its place; `prefix` tells its ids from those of other files."""
    prompt = template(config.prompt)
    examples: list[Placed] = []
    seen: dict[str, str] = {}
    for number, (place, row) in enumerate(iterate_rows(path, split=split), start=1):
        name = name_of(place, row, config.id, "task.id") if config.id else f"row-{number}"
        if name in seen:
            raise DataError(f"{place}: the id {name!r} was used before, at {seen[name]}; ids must be unique")
        seen[name] = place
        options = options_of(place, row, config.options) if config.options else None
        shown = {} if options is None else {"options": list(options)}
        answer = None
        if config.right:
            pair = pair_of(place, row, config.right, config.wrong, seed=config.seed, name=name)
            answer = (config.choices or PAIR_CHOICES)[pair.is_right]
            shown = {"candidate": pair.candidate, "other": pair.other}
        elif is_labelled:
            answer = _answer(place, row, config, options or config.choices)
        group = name_of(place, row, config.group, "task.group") if config.group else prefix + name
        difficulty = _number(place, row, config.difficulty) if config.difficulty else None
        text = prompt.render(place, row | shown)
        examples.append((place, Example(prefix + name, group, text, options, answer, difficulty)))
    return examples


def _answer(place: str, row: dict[str, Any], config: TaskConfig, among: tuple[str, ...]) -> str:
    """The true answer as the column has it, or the one of `among` that the column names."""
    value = _value(place, row, config.answer, "task.answer")
    if isinstance(value, bool) and config.choices:  # without choices it may be a slip among texts
        answer = str(value).lower()
    else:
        answer = name_of(place, row, config.answer, "task.answer")
    if config.options or config.answer_as != "text":
        return among[chosen(place, config.answer, answer, among, config.answer_as)]
    return answer


def _table(found: list[Placed]) -> tuple[str, ...]:
    """The sorted distinct answers."""
    return tuple(sorted({e.answer for _, e in found if e.answer is not None}))


def _classed(found: list[Placed], choices: tuple[str, ...], config: TaskConfig) -> list[Placed]:
    """The examples with the classes, which all of their answers are among."""
    for place, example in found:
        if example.answer is not None and example.answer not in choices:
            near = difflib.get_close_matches(example.answer, choices, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"task.choices are {list(choices)}"
            raise DataError(f"{place}, column {config.answer!r}: unknown answer {example.answer!r}; {hint}")
    return [(place, replace(example, choices=choices)) for place, example in found]


def prompts_of(rows: Iterable[Row], prompt: str) -> list[str]:
    """The prompt template filled with each row's columns. Raises DataError, as `Template` does."""
    parsed = template(prompt)
    return [parsed.render(place, row) for place, row in rows]


def _value(place: str, row: dict[str, Any], column: str, setting: str) -> Any:
    if column not in row:
        raise DataError(f"{place}: {no_column(column, row, setting)}")
    return row[column]


def _text(place: str, row: dict[str, Any], column: str, setting: str) -> str:
    value = _value(place, row, column, setting)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DataError(
            f"{place}, column {column!r}: expected text, got {value!r} ({type(value).__name__}); mend the value"
        )
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError:  # JSON can escape half of a character
        raise DataError(f"{place}, column {column!r}: {value!r} is not valid Unicode; mend the value") from None
    return text


def name_of(place: str, row: dict[str, Any], column: str, setting: str) -> str:
    """A text that identifies something: were it empty, all rows that lack it would count as the same.

    Raises:
        DataError: the column is missing, or its value is empty, neither text nor a whole number, or no valid Unicode.
    """
    text = _text(place, row, column, setting)
    if not text.strip():
        raise DataError(f"{place}, column {column!r} ({setting}): the value is empty; fill it in or delete the row")
    return text


def _number(place: str, row: dict[str, Any], column: str) -> float:
    value = _value(place, row, column, "task.difficulty")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise DataError(
            f"{place}, column {column!r}: difficulty must be a finite number, got {value!r:.80}; mend the value"
        )
    return number
