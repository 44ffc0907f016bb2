"""The column of the true answers: what its cells mean whatever their type, and which spellings are one class."""

import difflib
import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from ensemw2s.data.alike import alike
from ensemw2s.errors import DataError

UNKNOWN = "-1"
"""What data sets write for the label that a row lacks."""
EMPTIES = ("nan", "<na>", "null")
"""What programs write into text for an empty cell."""
PERHAPS_EMPTY = ("none", "n/a", "na")
"""As these, but they may be answers, too."""
SHOWN = 3
"""Places that a sentence names."""


def label_texts(cells: Sequence[tuple[str, Any]], column: str, *, may_be_boolean: bool = False) -> list[str | None]:
    """The label of each cell (its place in the file and its value) as text; None where it has none.

    None, NaN, an empty text and an empty list are no labels. A list of one label is that label. Booleans are `true`
    and `false` where all are booleans, or `may_be_boolean`; 1.0 is `1`.

    Raises:
        DataError: a cell holds several labels, a number with a fraction (a score), a boolean among texts, something
            else, or no valid Unicode.
    """
    values = [(place, _only(place, column, value)) for place, value in cells]
    booleans = may_be_boolean or all(isinstance(value, bool) for _, value in values if value is not None)
    return [None if value is None else _text(place, column, value, booleans) for place, value in values]


def without_unknown(labels: Sequence[str | None], choices: Sequence[str]) -> list[str | None]:
    """Labels of classes without those that mean "no label": `NaN` and the like as text, and -1.

    None of `choices` is one, nor is -1 where it is, with one other, all that there is.
    """
    empties = {label for label in set(labels) if label is not None and alike(label) in EMPTIES} - set(choices)
    found = {label for label in labels if label is not None} - empties
    if UNKNOWN in found and UNKNOWN not in choices and (choices or len(found) != 2):
        empties.add(UNKNOWN)
    return [None if label in empties else label for label in labels]


def merged_classes(labels: Iterable[str]) -> dict[str, str]:
    """Each spelling to the class that it means, which is named by its most frequent one."""
    counts = Counter(labels)
    spellings: dict[str, list[str]] = defaultdict(list)
    for label in counts:
        spellings[alike(label)].append(label)
    return {one: min(all_, key=lambda s: (-counts[s], s)) for all_ in spellings.values() for one in all_}


def spelt_as(label: str, choices: Sequence[str]) -> str | None:
    """The choice that a label is, or is the only one to be spelt like; None where there is none."""
    if label in choices:
        return label
    near = [choice for choice in choices if alike(choice) == alike(label)]
    return near[0] if len(near) == 1 else None


def unknown_answer(place: str, column: str, label: str, choices: Sequence[str]) -> DataError:
    near = difflib.get_close_matches(label, choices, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"task.choices are {list(choices)}"
    return DataError(f"{place}, column {column!r}: unknown answer {label!r}; {hint}")


def spelling_notes(column: str, counts: Mapping[str, int], class_of: Mapping[str, str]) -> list[str]:
    """A sentence for each class that is spelt in several ways, or may be none; `counts` has each spelling's rows."""
    ways: dict[str, list[str]] = defaultdict(list)
    for spelling in sorted(counts):
        ways[class_of[spelling]].append(spelling)
    return [
        f"column {column!r}: {' and '.join(f'{s!r} ({counts[s]:,} rows)' for s in found)} are taken for one class, "
        f"{name!r}; list them in task.choices to keep them apart"
        for name, found in ways.items()
        if len(found) > 1
    ] + [
        f"column {column!r}: {spelling!r} ({counts[spelling]:,} rows) is taken for a class; leave the cells empty "
        "where it means that there is no label"
        for spelling in sorted(counts)
        if alike(spelling) in PERHAPS_EMPTY
    ]


def choices_notes(choices: Sequence[str]) -> list[str]:
    """A sentence where the user's own classes are spellings of one word."""
    ways: dict[str, list[str]] = defaultdict(list)
    for choice in choices:
        ways[alike(choice)].append(choice)
    return [
        f"task.choices: {' and '.join(map(repr, found))} are spellings of one word, and classes of their own; list one "
        "of them to have one class"
        for found in ways.values()
        if len(found) > 1
    ]


def unlabelled_note(path: str, column: str, places: Sequence[str], labels: Sequence[str | None]) -> list[str]:
    """That rows without a label are left out, how many and where; empty where all have one."""
    lacking = [place for place, label in zip(places, labels, strict=True) if label is None]
    if not lacking:
        return []
    return [
        f"{path}: {len(lacking):,} of {len(places):,} rows have no label in the column {column!r} (empty, null, NaN or "
        f"-1) and are left out: {_places(lacking)}"
    ]


def contradictions(found: Iterable[tuple[str, str, str]]) -> list[str]:
    """A sentence where like questions have different answers; `found` has place, question and answer of each row."""
    answers: dict[str, dict[str, str]] = defaultdict(dict)
    rows: Counter[str] = Counter()
    for place, question, answer in found:
        key = alike(question)
        rows[key] += 1
        answers[key].setdefault(answer, place)
    torn = [key for key, each in answers.items() if len(each) > 1]
    if not torn:
        return []
    examples = [
        " but ".join(f"{answer!r:.60} at {place}" for answer, place in list(answers[key].items())[:2])
        for key in torn[:SHOWN]
    ]
    questions = "1 question has" if len(torn) == 1 else f"{len(torn):,} questions have"
    return [
        f"{questions} contradicting answers ({sum(rows[key] for key in torn):,} rows): {'; '.join(examples)}"
        f"{'; ...' if len(torn) > SHOWN else ''}; keep the right ones, or show in the prompt what tells them apart"
    ]


def _only(place: str, column: str, value: Any) -> Any:
    """The value, or the only one of a list; None where there is none."""
    if isinstance(value, list | tuple):
        if len(value) > 1:
            raise DataError(
                f"{place}, column {column!r}: {len(value)} labels, {value!r:.80}, where a question has one answer; "
                "keep one of them, or make a question of each"
            )
        value = value[0] if value else None
    is_nan = isinstance(value, float | Decimal) and math.isnan(value)
    return None if value is None or is_nan or (isinstance(value, str) and not value.strip()) else value


def _text(place: str, column: str, value: Any, booleans: bool) -> str:
    where = f"{place}, column {column!r}"
    if isinstance(value, bool):
        if not booleans:
            raise DataError(
                f"{where}: expected text, got {value!r} (bool), a boolean among other labels; mend the value, or write "
                "all of them as texts"
            )
        return str(value).lower()
    if isinstance(value, float | Decimal):
        if not math.isfinite(value) or value != int(value):
            raise DataError(
                f"{where}: expected a label, got {value!r} ({type(value).__name__}), a score and not a class; make "
                "classes of the scores, write a numeric answer as text, or name another column with task.answer"
            )
        return str(int(value))
    if not isinstance(value, str | int):
        raise DataError(f"{where}: expected text, got {value!r:.80} ({type(value).__name__}); mend the value")
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError:  # JSON can escape half of a character
        raise DataError(f"{where}: {text!r} is not valid Unicode; mend the value") from None
    return unicodedata.normalize("NFC", text).strip()


def _places(places: Sequence[str]) -> str:
    return ", ".join(places[:SHOWN]) + (", ..." if len(places) > SHOWN else "")
