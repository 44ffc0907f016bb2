"""Columns that give the answer away: what tells the label of nearly every labelled row has no place in a prompt."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from ensemw2s.data.alike import alike
from ensemw2s.data.templates.template import Template
from ensemw2s.errors import DataError

MIN_ROWS = 10
"""Fewer labelled rows tell nothing."""
MAX_ERROR = 0.02
"""Share of rows where a column that gives the answer away may be wrong ..."""
OF_CHANCE = 0.1
"""... and its share of the errors of always giving the commonest answer."""
ROWS_PER_VALUE = 5
"""Fewer rows to a repeated value, and it may be a question that is asked several times."""
MAX_CLASSES = 20
DEPTH = 4
"""Of entries of nested columns."""
TRIED = 40
"""Rows that tell whether a template reads a column."""
_SENTINEL = "\u241f"


def leaking(
    rows: Sequence[Mapping[str, Any]], labels: Sequence[str], answers: Sequence[str], columns: Sequence[str]
) -> list[str]:
    """Those of the columns, or entries `a.b` of nested ones, that tell the answer of nearly every row.

    That is a column whose text is the answer, or begins or ends with it; whose repeated values go each with one
    answer; or, being a number, is cut by a few thresholds into the answers. That every row has a text of its own tells
    nothing.

    Args:
        labels: as their column has them, perhaps the letter of an option.
        answers: what they mean, perhaps its text.
    """
    if len(rows) < MIN_ROWS or len(set(answers)) < 2:
        return []
    ways = [[alike(label) for label in labels]]
    if list(labels) != list(answers):
        ways.append([alike(answer) for answer in answers])
    found = []
    for name in dict.fromkeys(name for column in columns for row in rows[:TRIED] for name, _ in _entries(row, column)):
        values = [_text(_at(row, name)) for row in rows]
        if any(_says(values, told) or _determines(values, told) or _is_cut_into(values, told) for told in ways):
            found.append(name)
    return found


def read_by(template: Template, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """Those of these columns, or entries of nested ones, that change the prompt."""
    return [name for name in names if any(_reads(template, row, name) for row in rows[:TRIED])]


def _says(values: Sequence[str], answers: Sequence[str]) -> bool:
    """Whether nearly every value is the answer of its row, or begins or ends with it as a word of its own."""
    wrong = sum(not _is_told(value, answer) for value, answer in zip(values, answers, strict=True))
    return _is_near(wrong, answers)


def _is_told(value: str, answer: str) -> bool:
    if value == answer:
        return True
    if not answer or len(value) < len(answer):
        return False
    n = len(answer)
    begins = value.startswith(answer) and not value[n].isalnum()
    ends = value.endswith(answer) and not value[-n - 1].isalnum()
    return begins or ends


def _determines(values: Sequence[str], answers: Sequence[str]) -> bool:
    """Whether values recur, and each goes with one answer: a row's is told by the other rows of its value."""
    by_value: dict[str, Counter[str]] = defaultdict(Counter)
    for value, answer in zip(values, answers, strict=True):
        by_value[value][answer] += 1
    repeated = {value: counts for value, counts in by_value.items() if counts.total() > 1}
    covered = sum(counts.total() for counts in repeated.values())
    if covered < (1 - OF_CHANCE) * len(values) or len(repeated) * ROWS_PER_VALUE > covered:
        return False
    wrong = sum(counts.total() - max(counts.values()) for counts in repeated.values())
    return _is_near(wrong, [answer for value, answer in zip(values, answers, strict=True) if value in repeated])


def _is_cut_into(values: Sequence[str], answers: Sequence[str]) -> bool:
    """Whether the values are numbers, and in their order the answers lie side by side."""
    n_classes = len(set(answers))
    if n_classes > MAX_CLASSES:
        return False
    by_number: dict[float, Counter[str]] = defaultdict(Counter)
    try:
        for value, answer in zip(values, answers, strict=True):
            by_number[float(value)][answer] += 1
    except ValueError:
        return False
    if any(math.isnan(number) for number in by_number):
        return False
    commonest = [counts.most_common(1)[0] for _, counts in sorted(by_number.items())]
    changes = sum(a != b for (a, _), (b, _) in pairwise(commonest))
    # A row on the wrong side makes two changes.
    return _is_near(len(values) - sum(n for _, n in commonest) + max(0, changes - n_classes + 2) // 2, answers)


def _is_near(wrong: int, answers: Sequence[str]) -> bool:
    commonest = max(Counter(answers).values())
    return wrong <= min(MAX_ERROR * len(answers), OF_CHANCE * (len(answers) - commonest))


def _entries(row: Mapping[str, Any], column: str) -> Iterator[tuple[str, Any]]:
    if column in row:
        yield from _below(column, row[column], DEPTH)


def _below(name: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value and depth:
        for key, each in value.items():
            yield from _below(f"{name}.{key}", each, depth - 1)
    else:
        yield name, value


def _at(row: Mapping[str, Any], name: str) -> Any:
    """What `_entries` called so; None where the row has none."""
    column = next((c for c in row if name == c or (name.startswith(f"{c}.") and isinstance(row[c], Mapping))), None)
    return None if column is None else dict(_entries(row, column)).get(name)


def _text(value: Any) -> str:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        return alike(value)
    return "" if value is None else alike(json.dumps(value, default=str, sort_keys=True, ensure_ascii=False))


def _reads(template: Template, row: Mapping[str, Any], name: str) -> bool:
    column = next((c for c in row if name == c or name.startswith(f"{c}.")), None)
    if column is None:
        return False
    changed = dict(row) | {column: _replaced(row[column], name.removeprefix(column).split(".")[1:])}
    try:
        before = template.render("", row)
    except DataError:
        return False
    try:
        return template.render("", changed) != before
    except DataError:
        return True


def _replaced(value: Any, path: list[str]) -> Any:
    """The value with another of the same kind at the path."""
    if path and isinstance(value, Mapping):
        return dict(value) | {path[0]: _replaced(value.get(path[0]), path[1:])}
    if isinstance(value, list):
        return [_SENTINEL]
    return -987654321 if isinstance(value, int) and not isinstance(value, bool) else _SENTINEL
