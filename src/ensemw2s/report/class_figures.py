"""Figures class by class: recall, and which classes are taken for which."""

from dataclasses import dataclass
from typing import Any

import altair as alt

from ensemw2s.report.charts import BEHIND_TEXT, PERCENT, chart, colour_of, coloured, names_of, row_colours, shaped
from ensemw2s.results import Confusion, Results, Row
from ensemw2s.results.picks import main_rows

MOST_CLASSES = 20
"""With more of them a matrix of all pairs cannot be read."""
MOST_WRITTEN = 8
"""With more of them a cell has no room for its figure."""

MEASURES: dict[str, tuple[str, float, int]] = {
    "macro_f1": ("macro-f1", 100, 1),
    "balanced_accuracy": ("balanced", 100, 1),
    "quadratic_kappa": ("quadratic-kappa", 1, 2),
    "class_distance": ("class-distance", 1, 2),
}
"""Metric to its term in the glossary, its factor and its decimals."""


@dataclass(frozen=True)
class Measures:
    """Figures of the main rows on the hardest test beside the accuracy."""

    terms: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    """A row's part, and a figure with its interval for each term."""


def measures(results: Results) -> Measures:
    """Those of MEASURES that the run has; without lines in generation."""
    rows = main_rows(results)
    found = [name for name in MEASURES if any(name in row.parts[results.hardest_test] for _, row in rows)]

    def cell(row: Row, name: str) -> str:
        if (figure := row.parts[results.hardest_test].get(name)) is None:
            return "–"
        _, factor, digits = MEASURES[name]
        interval = figure.interval
        mean, low, high = (f"{factor * v:.{digits}f}" for v in (interval.mean, interval.low, interval.high))
        return f"{mean} [{low}, {high}]"

    lines = [(part, *(cell(row, name) for name in found)) for part, row in rows] if found else []
    return Measures(tuple(MEASURES[name][0] for name in found), tuple(lines))


def used_confusion(results: Results) -> Confusion:
    """That of the row to use, or of the first there is."""
    wanted = results.recommendation.rival or results.recommendation.row
    return next((each for each in results.confusion if each.row == wanted), results.confusion[0])


def recall(results: Results) -> Any:
    """Share of each class's items that are given that class, a dot for each row."""
    names = names_of(results, [each.row for each in results.confusion])
    colours = row_colours([results.row(key) for key in names], names)
    rows = [
        {"class": results.task.choices[k], "row": names[each.row], "recall": value}
        for each in results.confusion
        for k, value in enumerate(each.recall)
        if value is not None
    ]
    x = alt.X("recall:Q", axis=PERCENT, title="recall", scale=alt.Scale(domain=[0, 1]))
    y = alt.Y("class:N", sort=None, title=None, axis=alt.Axis(labelLimit=110, grid=True))
    shape = shaped("row", [results.row(key) for key in names], names)
    tooltip = [alt.Tooltip("class:N"), alt.Tooltip("row:N"), alt.Tooltip("recall:Q", format=".1%")]
    base = chart(rows, height=alt.Step(24)).encode(x=x, y=y, color=coloured("row", colours))
    return base.mark_point(filled=True, size=70, opacity=0.9).encode(shape=shape, tooltip=tooltip)


def confusion(results: Results) -> Any:
    """How often the items of each true class are given each class, by the row to use."""
    used, names = used_confusion(results), results.task.choices
    rows = [
        {"true": names[i], "given": names[j], "items": n, "share": n / max(1, sum(line))}
        for i, line in enumerate(used.counts)
        for j, n in enumerate(line)
    ]
    many = len(names) > MOST_WRITTEN
    across = alt.Axis(labelAngle=-60 if many else 0, labelLimit=110, labelOverlap=False, domain=False, ticks=False)
    down = alt.Axis(labelLimit=110, labelOverlap=False, domain=False, ticks=False)
    tooltip = [alt.Tooltip("true:N"), alt.Tooltip("given:N"), alt.Tooltip("items:Q")]
    tooltip.append(alt.Tooltip("share:Q", format=".1%"))
    base = chart(rows, height=alt.Step(20 if many else 34)).encode(
        x=alt.X("given:N", sort=None, title="answer given", axis=across),
        y=alt.Y("true:N", sort=None, title="true class", axis=down),
    )
    scale = alt.Scale(domain=[0, 1], range=[0.03, 1.0 if many else BEHIND_TEXT])
    opacity = alt.Opacity("share:Q", scale=scale, legend=None)
    cells = base.mark_rect(color=colour_of(results.row(used.row).condition)).encode(opacity=opacity, tooltip=tooltip)
    if many:
        return cells
    return cells + base.mark_text(fontSize=12).encode(text=alt.Text("share:Q", format=".0%"))
