"""Right and wrong answers in columns of their own, as the question whether one of them is right."""

import math
import random
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ensemw2s.core.seeds import stream_seed
from ensemw2s.data.templates.template import no_column
from ensemw2s.errors import DataError


@dataclass(frozen=True, slots=True)
class Pair:
    """What the template reads of a row, and the truth."""

    candidate: str
    other: str
    """A right answer where the candidate is wrong, else a wrong one."""
    is_right: bool


def pair_of(place: str, row: Mapping[str, Any], right: str, wrong: Sequence[str], *, seed: int, name: str) -> Pair:
    """The row's right answer with one of its wrong ones, the candidate drawn at even odds.

    Each row (`name`) has a stream of its own: no other row changes its draw. Empty columns of wrong answers are left
    out, and so are those that hold the right one.

    Raises:
        DataError: a column is missing or holds no text, the right answer is empty, or no wrong one is left.
    """
    for column in (right, *wrong):
        if column not in row:
            raise DataError(f"{place}: {no_column(column, row, 'task.right and task.wrong')}")
        value = row[column]
        is_nan = isinstance(value, float) and math.isnan(value)
        if (not isinstance(value, str | int | None) and not is_nan) or isinstance(value, bool):
            raise DataError(f"{place}, column {column!r}: expected text, got {value!r:.80}; mend the value")
    truth = _text(row[right])
    found = [_text(row[column]) for column in wrong]
    others = [text for text in found if text and text != truth]
    if not truth or not others:
        lacks = f"column {right!r} (task.right) is empty" if not truth else f"{list(wrong)} hold no wrong answer"
        raise DataError(f"{place}: {lacks}; fill it in or delete the row")
    rng = random.Random(stream_seed(seed, "pair", name))
    is_right, drawn = rng.random() < 0.5, rng.choice(others)
    return Pair(truth, drawn, True) if is_right else Pair(drawn, truth, False)


def _text(value: str | int | float | None) -> str:
    """The text of a cell in one Unicode form; a number with a fraction can only be NaN here, which is no text."""
    return "" if value is None or isinstance(value, float) else unicodedata.normalize("NFC", str(value)).strip()
