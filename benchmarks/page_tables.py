"""The tables of the documentation's pages as cells, and what a cell says as a dot of a picture."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from dot_plot import Dot
from ensemw2s.report.charts import COLOURS, GREY

ROOT = Path(__file__).parents[1]
NUMBER = r"([-+]?\d*\.?\d+)"
INTERVAL = re.compile(rf"{NUMBER} \[{NUMBER}, {NUMBER}\]")
RANGE = re.compile(rf"{NUMBER}(?: times)? \({NUMBER}(?: to |, ){NUMBER}(?:, {NUMBER})?")
"""A ratio with its range, or a mean of three with these."""
Table = Mapping[str, Sequence[str]]
"""The cells of each row after the first, which is its name."""


def table(page: str, start: str, after: str = "") -> Table:
    """The first table of a page, after a text, whose first line begins like that."""
    text = (ROOT / page).read_text(encoding="utf-8")
    lines = text[text.index(after) :].splitlines()
    first = next((i for i, line in enumerate(lines) if line.startswith(f"| {start}")), None)
    if first is None:
        raise SystemExit(f"{page}: no table begins with '| {start}'; adapt benchmarks/figure.py to the page")
    rows: dict[str, Sequence[str]] = {}
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        name, *cells = [cell.strip() for cell in line.strip()[1:-1].split("|")]
        rows[re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", name.replace("*", "").replace("\\", "")).strip()] = cells
    return rows


def dot(cell: str, colour: str, shape: str = "circle", pattern: re.Pattern[str] = INTERVAL) -> Dot:
    """The figure of a cell, its interval or its range."""
    found = pattern.search(cell)
    if found is None:
        raise SystemExit(f"the cell {cell!r} has no figure with an interval; adapt benchmarks/figure.py to the page")
    mean, *others = (float(each) for each in found.groups() if each is not None)
    return Dot(mean, min(others), max(others), colour, shape)


def colour_of(name: str) -> str:
    """Of a row, by its words: the colour that the report gives it."""
    for word, colour in (
        ("ceiling", GREY),
        ("true hard labels", GREY),
        ("majority class", GREY),
        ("TF-IDF", GREY),
        ("self", COLOURS["self_training"]),
        ("boost", COLOURS["boosting"]),
        ("bag", COLOURS["bagging"]),
        ("independent", COLOURS["independent"]),
        ("subspace", COLOURS["subspace"]),
        ("layers", COLOURS["layers"]),
        ("auto", COLOURS["auto"]),
        ("zero-shot", COLOURS["zero_shot"]),
        ("strong on easy", COLOURS["strong_on_easy"]),
        ("easy labels", COLOURS["strong_on_easy"]),
        ("easy answers", COLOURS["strong_on_easy"]),
        ("one expert", COLOURS["single"]),
        ("single", COLOURS["single"]),
    ):
        if word in name:
            return colour
    return GREY
