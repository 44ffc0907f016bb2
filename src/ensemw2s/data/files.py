"""Your own data: rows of a file as classification examples, through a prompt template and named columns."""

import difflib
import math
import string
from collections.abc import Sequence
from typing import Any

from ensemw2s.config import TaskConfig
from ensemw2s.data.answers import free_task
from ensemw2s.data.load import Row, read_rows
from ensemw2s.errors import DataError
from ensemw2s.types import Example, Task


def load_files(config: TaskConfig) -> Task:
    """Read `config.path` and check every row.

    Raises:
        DataError: a column is missing, a value empty or of the wrong type, an answer unknown, an id used twice.
    """
    assert config.path is not None  # the configuration refuses it
    rows = read_rows(config.path, split=config.split)
    prompts = prompts_of(rows, config.prompt)
    answers = [name_of(place, row, config.answer, "task.answer") for place, row in rows]
    is_free = config.answer_form == "free"
    choices = config.choices or tuple(sorted(set(answers)))
    examples = []
    seen: dict[str, str] = {}
    for number, ((place, row), prompt, answer) in enumerate(zip(rows, prompts, answers, strict=True), start=1):
        if answer not in choices and not is_free:
            near = difflib.get_close_matches(answer, choices, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"task.choices are {list(choices)}"
            raise DataError(f"{place}, column {config.answer!r}: unknown answer {answer!r}; {hint}")
        name = name_of(place, row, config.id, "task.id") if config.id else f"row-{number}"
        if name in seen:
            raise DataError(f"{place}: the id {name!r} was used before, at {seen[name]}; ids must be unique")
        seen[name] = place
        group = name_of(place, row, config.group, "task.group") if config.group else name
        difficulty = _number(place, row, config.difficulty) if config.difficulty else None
        examples.append(Example(name, group, prompt, None if is_free else choices, answer, difficulty))
    meaning = f"the column {config.difficulty!r}" if config.difficulty else "not given"
    if is_free:
        return free_task(config.path, examples, f"your own data, {config.path}", meaning)
    return Task(config.path, tuple(examples), choices, f"your own data, {config.path}", meaning)


def prompts_of(rows: Sequence[Row], template: str) -> list[str]:
    """The template filled with each row's columns; a column's name may hold spaces and dots.

    Raises:
        DataError: the template is malformed, names a column that a row lacks, or gives an empty prompt.
    """
    try:
        pieces = list(string.Formatter().parse(template))
    except ValueError as error:
        raise DataError(
            f"prompt template {template!r}: {error}; write columns as {{name}} and a brace as {{{{"
        ) from None
    fields = [field for _, field, _, _ in pieces if field is not None]
    # Filled in here and not by str.format: that would follow dots and brackets into a value.
    if not all(fields) or not fields or any(spec or conversion for _, _, spec, conversion in pieces):
        raise DataError(
            f"prompt template {template!r}: name at least one column, as {{name}}, and nothing else in braces"
        )
    prompts = []
    for place, row in rows:
        values = {field: _text(place, row, field, "the prompt template") for field in fields}
        prompt = "".join(literal + (values[field] if field else "") for literal, field, _, _ in pieces)
        if not prompt.strip():
            raise DataError(f"{place}: its prompt is empty; give it a text or delete the row")
        prompts.append(prompt)
    return prompts


def _value(place: str, row: dict[str, Any], column: str, setting: str) -> Any:
    if column not in row:
        near = difflib.get_close_matches(column, row, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"its columns are {', '.join(map(repr, row))}"
        raise DataError(f"{place}: there is no column {column!r} ({setting}); {hint}")
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
