"""Figures of an ensemble's rounds: accuracy by size, errors under the sample weights, correlation of errors."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from ensemw2s.names import BOOSTING
from ensemw2s.report.charts import BEHIND_TEXT, COLOURS, GREY, PERCENT, chart, coloured, seeds_and_mean, spread
from ensemw2s.results import EnsembleTrace

ROUND_FIELDS = {
    "weighted error (eps) of expert t": "weighted_error",
    "vote (alpha, nats) of expert t": "expert_weight",
    "effective sample size of round t": "effective_sample_size",
}
HEIGHT = 180
LINE_HEIGHT = 13
MOST_WRITTEN = 8
"""Members; with more of them a cell has no room for its figure."""


def limits(traces: Sequence[EnsembleTrace]) -> tuple[float, float]:
    """The least and the largest accuracy of any round, on any part: the axis that the panels share."""
    found = [v for e in traces for r in e.rounds for v in (*r.ensemble_accuracy.values(), *r.member_accuracy.values())]
    return min(found), max(found)


def accuracy_by_round(
    traces: Sequence[EnsembleTrace],
    part: str,
    colours: Mapping[str, str],
    y_limits: tuple[float, float],
    *,
    together: bool,
) -> Any:
    """Accuracy of the first t experts, or of expert t alone, on one part; rings mark sizes chosen on easy-val."""
    rows = [
        {
            "t": r.round + 1,
            "line": e.method,
            "seed": e.seed,
            "value": (r.ensemble_accuracy if together else r.member_accuracy)[part],
            "chosen": together and r.round + 1 == e.selected,
        }
        for e in traces
        for r in e.rounds
    ]
    base = _rounds(rows, PERCENT, y_limits).encode(color=coloured("line", colours, legend=False))
    lines = seeds_and_mean(base, "value") + _labels(rows, y_limits)
    if not together:
        return lines
    return lines + base.transform_filter("datum.chosen").mark_point(size=45, strokeWidth=1.6).encode(detail="seed:N")


def answers(traces: Sequence[EnsembleTrace]) -> Any:
    """Error under D_t of expert t and of the expert before it, with the prior error."""
    rows = [
        {"t": r.round + 1, "seed": e.seed, "line": who, "value": value}
        for e in traces
        for r in e.rounds
        for who, value in (("expert t", r.weighted_error), ("expert t−1", r.previous_error))
        if value is not None
    ]
    prior = sum(e.prior_error for e in traces) / len(traces)
    y_limits = _limits([*(row["value"] for row in rows), prior])
    dashed = alt.Chart(alt.Data(values=[{"value": prior}])).mark_rule(strokeDash=[3, 3]).encode(y="value:Q")
    base = _rounds(rows, PERCENT, y_limits).encode(
        color=coloured("line", {"expert t": COLOURS[BOOSTING], "expert t−1": GREY}, legend=False)
    )
    return dashed + seeds_and_mean(base, "value") + _labels(rows, y_limits)


def by_round(traces: Sequence[EnsembleTrace], field: str, colours: Mapping[str, str]) -> Any:
    """One field of each round, by method."""
    rows = [
        {"t": r.round + 1, "line": e.method, "seed": e.seed, "value": getattr(r, field)}
        for e in traces
        for r in e.rounds
    ]
    y_limits = _limits([row["value"] for row in rows])
    axis = PERCENT if field == "weighted_error" else alt.Axis(tickCount=5)
    base = _rounds(rows, axis, y_limits).encode(color=coloured("line", colours, legend=False))
    return seeds_and_mean(base, "value") + _labels(rows, y_limits)


def correlation(traces: Sequence[EnsembleTrace]) -> Any:
    """Mean over seeds of one method's pairwise error correlation."""
    cells: dict[tuple[int, int], list[float]] = defaultdict(list)
    for e in traces:
        for i, row in enumerate(e.error_correlation):
            for j, value in enumerate(row):
                cells[i + 1, j + 1].append(value)
    means = {cell: sum(values) / len(values) for cell, values in cells.items()}
    rows = [
        {"i": i, "j": j, "correlation": value, "size": abs(value), "sign": "together" if value >= 0 else "apart"}
        for (i, j), value in means.items()
    ]
    axis = alt.Axis(labelAngle=0, title=None, domain=False, ticks=False)
    base = chart(rows, height=200).encode(x=alt.X("i:O", axis=axis), y=alt.Y("j:O", axis=axis))
    tooltip = [alt.Tooltip("i:O"), alt.Tooltip("j:O"), alt.Tooltip("correlation:Q", format=".2f")]
    opacity = alt.Opacity("size:Q", scale=alt.Scale(domain=[0, 1], range=[0.03, BEHIND_TEXT]), legend=None)
    signs = alt.Scale(domain=["together", "apart"], range=[COLOURS["bagging"], COLOURS[BOOSTING]])
    colour = alt.Color("sign:N", scale=signs, legend=None)
    rects = base.mark_rect().encode(opacity=opacity, color=colour, tooltip=tooltip)
    if max(i for i, _ in means) > MOST_WRITTEN:
        return rects
    return rects + base.mark_text(fontSize=11).encode(text=alt.Text("correlation:Q", format=".2f"))


def _limits(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _rounds(rows: Sequence[Mapping[str, Any]], axis: alt.Axis, y_limits: tuple[float, float]) -> Any:
    """A chart over the rounds, with room on the right for the lines' names."""
    n = max(row["t"] for row in rows)
    x = alt.X(
        "t:Q",
        title="round t",
        scale=alt.Scale(domain=[0.8, n + max(0.6, 0.45 * (n - 1))], nice=False),
        axis=alt.Axis(values=list(range(1, n + 1)), format="d", grid=False),
    )
    y = alt.Y("value:Q", scale=alt.Scale(domain=list(y_limits), nice=True, zero=False), axis=axis, title=None)
    return chart(rows, height=HEIGHT).encode(x=x, y=y)


def _labels(rows: Sequence[Mapping[str, Any]], y_limits: tuple[float, float]) -> Any:
    """The name of each line at its end; names that would overlap are moved apart."""
    ends = list[dict[str, Any]]()
    for line in dict.fromkeys(row["line"] for row in rows):
        mine = [row for row in rows if row["line"] == line]
        last = max(row["t"] for row in mine)
        values = [row["value"] for row in mine if row["t"] == last]
        ends.append({"line": line, "t": last, "value": sum(values) / len(values)})
    gap = LINE_HEIGHT / HEIGHT * (y_limits[1] - y_limits[0])
    right = max(end["t"] for end in ends)
    for end, place in zip(ends, spread([end["value"] for end in ends], gap), strict=True):
        end |= {"value": place, "t": right}
    return (
        alt.Chart(alt.Data(values=ends))
        .mark_text(align="left", dx=7, fontSize=11, clip=False)
        .encode(x="t:Q", y="value:Q", text="line:N")
    )
