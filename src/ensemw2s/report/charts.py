"""Parts shared by all figures: one colour for each method, axes, labels at the end of a line."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import altair as alt

from ensemw2s.names import BOOSTING, INDEPENDENT, SINGLE
from ensemw2s.results import Condition, Results, Row

# Each stands out at 3 : 1 from the light and from the dark page (a test holds that), so that a chart has one colour for
# both. Texts are in ink.
GREY = "#7f868f"
SPARE = ("#c7579a", "#1497a8", "#9c7454", "#4f8f2f", "#98861a")
COLOURS: dict[str, str] = {
    BOOSTING: "#2f7fd0",
    "bagging": "#c4750f",
    INDEPENDENT: "#1f9d74",
    SINGLE: "#8f6fd0",
    "subspace": "#c7579a",
    "layers": "#1497a8",
    "self_training": "#98861a",
    "strong_on_easy": "#d1553f",
    "strong_on_easy_augmented": "#d1553f",
    "auto": "#4f8f2f",
    "zero_shot": "#9c7454",
    "ceiling": GREY,
    "majority": GREY,
    "tfidf": GREY,
    "tfidf_self_trained": GREY,
    "nearest_answer": GREY,
    "best_single": "#8f6fd0",
    "single_long": "#8f6fd0",
}
"""Ensemble method, or kind of a condition that has none, to the colour that it has in the whole page."""
PALETTE = list(dict.fromkeys(COLOURS.values()))
PARTS = {"easy_val": "easy-val", "id_test": "ID", "ood_test": "OOD"}
PERCENT = alt.Axis(format=".0%", tickCount=5)
BEHIND_TEXT = 0.55
"""Largest opacity of a coloured cell whose figure is in ink, so that it can be read in light and dark mode."""
FEWEST = 10
"""A bin of fewer answers is noise, and is not drawn."""
THEME: dict[str, Any] = {
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--soft)",
        "titleColor": "var(--soft)",
        "gridColor": "var(--line)",
        "domainColor": "var(--line)",
        "tickColor": "var(--line)",
        "titleFontWeight": "normal",
        "labelFontSize": 11,
        "titleFontSize": 11,
    },
    "legend": {"labelColor": "var(--ink)", "titleColor": "var(--soft)", "titleFontWeight": "normal", "labelLimit": 330},
    "text": {"color": "var(--ink)"},
    "rule": {"color": "var(--soft)"},
}
"""Settings of every chart. Names of the page's colours stand for what they are in its present mode."""
LIGHT = {"--ink": "#1c1e21", "--soft": "#5b6169", "--line": "#dfe2e6", "--paper": "#ffffff", "--accent": "#0b6b5d"}
"""These colours in light mode, for exported figures."""
Spec = dict[str, Any]


def colour_of(condition: Condition) -> str:
    """A condition's colour: that of its ensemble method, if it has one."""
    name = condition.method or condition.kind
    return COLOURS.get(name) or SPARE[sum(name.encode()) % len(SPARE)]


def method_colours(methods: Iterable[str]) -> dict[str, str]:
    """Ensemble methods to their colours."""
    return {method: colour_of(Condition(kind="ensemble", method=method)) for method in methods}


def names_of(results: Results, keys: Sequence[str]) -> dict[str, str]:
    """Row keys to names that are as short as they can be without two rows having one."""
    rows = [results.row(key) for key in dict.fromkeys(keys)]
    whose = [row.who for row in rows]
    return {row.key: row.who if whose.count(row.who) == 1 else row.label for row in rows}


def wrapped(text: str, width: int = 34) -> str:
    """A text in lines for an axis, as LINES splits them."""
    return "\n".join(textwrap.wrap(text, width))


LINES = "split(datum.label, '\\n')"
"""Expression of an axis whose labels have lines."""


def chart(rows: Sequence[Mapping[str, Any]], **size: Any) -> Any:
    """A chart of these rows, as wide as its container."""
    return alt.Chart(alt.Data(values=list(rows))).properties(width="container", **size)


def coloured(field: str, colours: Mapping[str, str], *, legend: bool = True) -> alt.Color:
    """Colour by a nominal field; a legend stands below the chart."""
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    return alt.Color(field, type="nominal", scale=scale, legend=_legend() if legend else None)


def shaped(field: str, rows: Iterable[Row], names: Mapping[str, str]) -> alt.Shape:
    """Students as squares: they have the colour of the ensemble whose labels they learned. The legend is colour's."""
    shapes = {names[row.key]: "square" if row.kind == "student" else "circle" for row in rows}
    scale = alt.Scale(domain=list(shapes), range=list(shapes.values()))
    return alt.Shape(field, type="nominal", scale=scale, legend=_legend())


def _legend() -> alt.Legend:
    return alt.Legend(title=None, orient="bottom", symbolOpacity=1, symbolStrokeWidth=0)


def row_colours(rows: Iterable[Row], names: Mapping[str, str]) -> dict[str, str]:
    """Names of rows to their colours."""
    return {names[row.key]: colour_of(row.condition) for row in rows}


def seeds_and_mean(base: Any, field: str) -> Any:
    """A faint line per seed under the mean over seeds."""
    return base.mark_line(strokeWidth=0.9, opacity=0.35).encode(detail="seed:N") + base.mark_line(
        strokeWidth=2, point=alt.OverlayMarkDef(size=22)
    ).encode(y=f"mean({field}):Q")


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Places for labels of these values, each at least `gap` from the next and as near to its value as that lets it.

    >>> spread([1.0, 0.0, 1.0], 0.5)
    [0.75, 0.0, 1.25]
    """
    order = sorted(range(len(values)), key=lambda i: values[i])
    groups: list[list[int]] = []
    for i in order:
        groups.append([i])
        while len(groups) > 1 and _low(groups[-1], values, gap) < _low(groups[-2], values, gap) + gap * len(groups[-2]):
            last = groups.pop()
            groups[-1] += last
    places = [0.0] * len(values)
    for group in groups:
        for n, i in enumerate(group):
            places[i] = _low(group, values, gap) + gap * n
    return places


def _low(group: Sequence[int], values: Sequence[float], gap: float) -> float:
    """Where the first of a group of neighbours stands: the group's middle is the mean of its values."""
    return sum(values[i] for i in group) / len(group) - gap * (len(group) - 1) / 2
