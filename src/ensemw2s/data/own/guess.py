"""What the columns of a user's files are likely to be: proposals, each of which the user may overrule."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ensemw2s.data.own.options import AnswerAs, chosen, letters_of, places_of
from ensemw2s.data.readers.load import Row
from ensemw2s.errors import DataError

ANSWERS = ("answer", "label", "target", "output", "response", "completion", "gold", "class", "answerkey", "solution")
IDS = ("id", "uid", "qid", "key", "idx")
QUESTIONS = ("question", "prompt", "text", "input", "instruction", "query", "q", "sentence", "sentence1", "sentence2")
QUESTIONS += ("premise", "hypothesis", "passage", "context", "article", "review", "content", "title", "body", "stem")
MAX_CLASSES = 20
ROWS_PER_CLASS = 5
"""Fewer examples to a distinct answer, and the answers are taken for texts."""
MOSTLY = 0.5
"""Share of the rows that have a text in a column which the prompt shows where it is there."""
RESERVED = {"row", "and", "or", "not", "in", "is", "if", "else", "true", "false", "none", "True", "False", "None"}


def shared_columns(files: Sequence[Sequence[Row]]) -> list[str]:
    """Columns that every row of every file has, in the order of the first row."""
    common = set.intersection(*(set(columns) for rows in files for _, columns in rows))
    return [column for column in files[0][0][1] if column in common]


def guess_answer(labelled: Sequence[Row], others: Sequence[Sequence[Row]], unlabelled: Sequence[Row]) -> str | None:
    """The column of the answer: one that the unlabelled file lacks, else one with a usual name; None where unclear."""
    columns = shared_columns([labelled, *others])
    hidden = [c for c in columns if unlabelled and c not in unlabelled[0][1]]
    for candidates in (hidden, columns):
        usual = sorted((c for c in candidates if c.lower() in ANSWERS), key=lambda c: ANSWERS.index(c.lower()))
        if usual:
            return usual[0]
        if candidates is hidden and len(hidden) == 1:
            return hidden[0]
    return None


def guess_options(rows: Sequence[Row], columns: Sequence[str]) -> tuple[str, ...]:
    """The column that lists each question's options, or columns such as option_a, option_b; empty where none do."""
    for column in columns:
        if all(isinstance(row[column], list) for _, row in rows) and _are_options(rows, (column,)):
            return (column,)
    series: dict[str, list[str]] = {}
    for column in columns:
        if found := re.fullmatch(r"(.*?)([A-Ha-h0-9])", column):
            series.setdefault(found[1].lower(), []).append(column)
    for prefix, members in series.items():
        last = [m[-1].lower() for m in members]
        is_run = last == [chr(ord(last[0]) + i) for i in range(len(last))] and last[0] in "a01"
        is_named = re.sub(r"[^a-z]", "", prefix) in ("", "option", "opt", "choice", "ending", "answer", "ans", "sol")
        if len(members) > 1 and is_run and is_named and _are_options(rows, tuple(members)):
            return tuple(members)
    return ()


def guess_answer_as(rows: Sequence[Row], labels: Sequence[str], answer: str, columns: Sequence[str]) -> AnswerAs | None:
    """How the labels of these rows (of the column `answer`) name their options; None where no way fits all of them."""
    ways: tuple[AnswerAs, ...] = ("text", "letter", "index", "number")
    fitting: list[AnswerAs] = []
    for way in ways:
        try:
            for (place, row), label in zip(rows, labels, strict=True):
                places = places_of(place, row, columns)
                chosen(place, answer, label, places, way, letters_of(row, columns, places))
        except DataError:
            continue
        fitting.append(way)
    if fitting == ["index", "number"]:  # every answer is neither the first number nor the last
        return "number"
    return fitting[0] if fitting else None


def guess_is_classes(answers: Sequence[str]) -> bool:
    """Whether the answers are a few classes that recur, and not texts."""
    distinct = len(set(answers))
    return distinct <= MAX_CLASSES and distinct * ROWS_PER_CLASS <= len(answers)


def guess_id(files: Sequence[Sequence[Row]]) -> str | None:
    """A column with a usual name whose values name the rows of every file."""
    for column in shared_columns(files):
        if column.lower() in IDS and all(_names(rows, column) for rows in files):
            return column
    return None


def guess_prompt(
    files: Sequence[Sequence[Row]], leave_out: Sequence[str], options: Sequence[str], *, answer: str, is_free: bool
) -> str | None:
    """A template over the columns with usual names, else over all columns of text; None where there is none.

    It ends in a cue, because a decoder is read where the prompt ends: "Answer:" before a free answer, which follows it,
    else the name of the answer's column.
    """
    columns = [c for c in shared_columns(files) if c not in leave_out]
    texts = [c for c in columns if all(_is_text(rows, c) for rows in files)]
    # A usual name is not passed over because a few rows are empty: such rows are shown without it, or refused.
    often = [c for c in columns if all(_is_text(rows, c, MOSTLY) for rows in files)]
    usual = [c for c in often if c.lower() in QUESTIONS]
    shown = usual or [c for c in texts or often if c.lower() not in IDS]
    if not shown:
        return None
    if len(shown) == 1 and not is_free:
        return f"{{{{ {_expression(shown[0])} }}}}\n{_cue(answer)}"
    titles = ["Question"] if len(shown) == 1 else [c.replace("_", " ").strip().capitalize() for c in shown]
    lines = [f"{title}: {{{{ {_expression(column)} }}}}" for title, column in zip(titles, shown, strict=True)]
    if len(shown) > 1:
        wholly = [c in texts for c in shown]
        lines = [
            line if always else f"{{% if {_expression(c)} %}}{line}{{% endif %}}"
            for line, c, always in zip(lines, shown, wholly, strict=True)
        ]
    if len(options) == 1:
        lines[-1] += f"{{% for option in {_expression(options[0])} if option %}}\n- {{{{ option }}}}{{% endfor %}}"
    for o in options if len(options) > 1 else ():  # questions may have fewer than others
        lines[-1] += f"{{% if {_expression(o)} %}}\n- {{{{ {_expression(o)} }}}}{{% endif %}}"
    return "\n".join([*lines, "Answer:" if is_free else _cue(answer)])


def _cue(column: str) -> str:
    """A column's name as a cue; one that is no plain word would be part of the template's language, or say nothing."""
    name = column.replace("_", " ").strip()
    return f"{name.capitalize()}:" if name.replace(" ", "").isalpha() else "Answer:"


def _expression(column: str) -> str:
    """A column in a template; one whose name is no name there, through `row`."""
    return column if column.isidentifier() and column not in RESERVED else f"row[{json.dumps(column)}]"


def _are_options(rows: Sequence[Row], columns: tuple[str, ...]) -> bool:
    try:
        return all(places_of(place, row, columns) for place, row in rows)
    except DataError:
        return False


def _is_text(rows: Sequence[Row], column: str, share: float = 1.0) -> bool:
    """Whether so many of the rows have a text there, and the others nothing."""
    values = [row[column] for _, row in rows]
    n_texts = sum(isinstance(value, str) and bool(value.strip()) for value in values)
    return n_texts >= share * len(values) and all(isinstance(value, str | None) for value in values)


def _names(rows: Sequence[Row], column: str) -> bool:
    values: Counter[Any] = Counter(str(row[column]) for _, row in rows if isinstance(row[column], str | int))
    return len(values) == len(rows) and all(str(v).strip() for v in values)
