"""All figures of a run, and those of its answers; one function each, from results to a chart."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from ensemw2s.names import BOOSTING
from ensemw2s.report.charts import (
    FEWEST,
    GREY,
    LINES,
    PARTS,
    PERCENT,
    Spec,
    chart,
    colour_of,
    coloured,
    method_colours,
    names_of,
    row_colours,
    shaped,
    wrapped,
)
from ensemw2s.report.class_figures import MOST_CLASSES, confusion, recall
from ensemw2s.report.overview import overview
from ensemw2s.report.round_figures import ROUND_FIELDS, accuracy_by_round, answers, by_round, correlation, limits
from ensemw2s.report.table import distances
from ensemw2s.results import Comparison, Condition, Results, Timing
from ensemw2s.results.conditions import STRONG_ON_EASY
from ensemw2s.results.picks import best_on_val

MOST_GAINS = 8


def figures(results: Results, timing: Timing | None) -> dict[str, Spec]:
    """All charts of the page, by section id and, behind a slash, the panel. What a run lacks has no chart.

    They are not checked against the schema of Vega-Lite, which takes as long as making them; the tests do that.
    """
    charts: dict[str, Any] = {"headline": overview(results)}
    charts |= _gains(results)
    if any(b.n_items >= FEWEST for curve in results.difficulty for b in curve.bins):
        charts["difficulty"] = _difficulty(results)
    if any(b.n_items >= FEWEST for curve in results.reliability for b in curve.bins):
        charts["reliability"] = _reliability(results)
    if results.confusion and len(results.task.choices) <= MOST_CLASSES:
        charts |= {"classes/recall": recall(results), "classes/confusion": confusion(results)}
    if results.budget:
        charts["people"] = _people(results)
    charts |= _rounds(results)
    if timing is not None and timing.stages:
        charts["time"] = _time(timing)
    return {name: one.to_dict(validate=False) for name, one in charts.items()}


def _rounds(results: Results) -> dict[str, Any]:
    """What is drawn round by round, and the correlation of members' errors."""
    charts: dict[str, Any] = {}
    several = [e for e in results.ensembles if len(e.rounds) > 1]
    if not several:
        return {}
    colours = method_colours(dict.fromkeys(e.method for e in several))
    y = limits(several)
    for part, name in PARTS.items():
        if part not in several[0].rounds[0].ensemble_accuracy:
            continue
        charts[f"rounds/together, {name}"] = accuracy_by_round(several, part, colours, y, together=True)
        charts[f"rounds/each alone, {name}"] = accuracy_by_round(several, part, colours, y, together=False)
    if boosted := [e for e in several if e.method == BOOSTING]:
        charts[f"answers/{BOOSTING}: error under the weights of round t"] = answers(boosted)
    for title, field in ROUND_FIELDS.items():
        charts[f"answers/{title}"] = by_round(several, field, colours)
    for method in colours:
        charts[f"correlation/{method}"] = correlation([e for e in several if e.method == method])
    return charts


def _gains(results: Results) -> dict[str, Any]:
    """Forest plots of paired differences: to strong-on-easy, and to the single weak expert's student."""
    found = [c for c, _ in distances(results)]
    panels = {
        "gains/minus the strong model on easy labels": [c for c in found if c.baseline == STRONG_ON_EASY.key],
        "gains/minus the single weak expert's student": [c for c in found if c.baseline != STRONG_ON_EASY.key],
    }
    panels = {name: _few(results, each) for name, each in panels.items() if each}
    if not panels:
        return {}
    shown = [c.difference for each in panels.values() for c in each]
    domain = [min(0.0, *(d.low for d in shown)), max(0.0, *(d.high for d in shown))]
    return {name: _forest(results, each, domain) for name, each in panels.items()}


def _few(results: Results, compared: Sequence[Comparison]) -> list[Comparison]:
    """Those of the rows that are best on easy-val, in the order of the table."""
    by_row = {c.row: c for c in compared}
    left = [results.row(key) for key in by_row]
    chosen: set[str] = set()
    while left and len(chosen) < MOST_GAINS:
        best = best_on_val(left)
        assert best is not None
        chosen.add(best.key)
        left.remove(best)
    return [by_row[row.key] for row in results.rows if row.key in chosen]


def _forest(results: Results, compared: Sequence[Comparison], domain: Sequence[float]) -> Any:
    rows = [results.row(c.row) for c in compared]
    names = {row.key: row.label for row in rows}
    data = [
        {"row": row.label, "lines": wrapped(row.label), "mean": c.difference.mean}
        | {"shown": f"{100 * c.difference.mean:+.1f}"}
        | {"low": c.difference.low, "high": c.difference.high}
        for row, c in zip(rows, compared, strict=True)
    ]
    axis = alt.Axis(labelLimit=230, labelExpr=LINES, labelFontSize=10.5, domain=False, ticks=False)
    y = alt.Y("lines:N", sort=None, title=None, axis=axis)
    x = alt.X(
        "low:Q",
        title=f"points of {PARTS[results.hardest_test]} {results.metric}",
        scale=alt.Scale(domain=list(domain)),
        axis=alt.Axis(labelExpr="format(100 * datum.value, '+')", tickCount=5),
    )
    step = alt.Step(max(34, 13 * max(wrapped(row.label).count("\n") + 1 for row in rows) + 8))
    colours = row_colours(rows, names)
    base = chart(data, height=step).encode(y=y, color=coloured("row", colours, legend=False))
    tooltip = [alt.Tooltip("row:N"), *(alt.Tooltip(f"{f}:Q", format="+.2%") for f in ("mean", "low", "high"))]
    zero = alt.Chart(alt.Data(values=[{"zero": 0}])).mark_rule(strokeDash=[3, 3]).encode(x=alt.X("zero:Q"))
    return (
        zero
        + base.mark_rule(strokeWidth=2).encode(x=x, x2="high:Q")
        + base.mark_circle(size=60, opacity=1).encode(x="mean:Q", tooltip=tooltip)
        + base.mark_text(dy=-11, fontSize=11).encode(x="mean:Q", text="shown:N", color=alt.value("var(--ink)"))
    )


def _difficulty(results: Results) -> Any:
    """Accuracy by bin of difficulty; rows are side by side within a bin so that intervals do not overlap."""
    names = names_of(results, [curve.row for curve in results.difficulty])
    rows = [results.row(key) for key in names]
    colours = row_colours(rows, names)
    data = [
        {
            "row": names[curve.row],
            "bin": f"{_rounded(b.low)} to {_rounded(b.high)}",
            "accuracy": b.accuracy.mean,
            "low": b.accuracy.low,
            "high": b.accuracy.high,
            "items": b.n_items,
        }
        for curve in results.difficulty
        for b in curve.bins
        if b.n_items >= FEWEST
    ]
    axis = alt.Axis(labelAngle=0, labelExpr="split(datum.label, ' to ')", domain=False, ticks=False)
    y = alt.Y("low:Q", scale=alt.Scale(zero=False), axis=PERCENT, title=results.metric)
    tooltip = [alt.Tooltip("row:N"), alt.Tooltip("bin:N"), alt.Tooltip("items:Q")]
    tooltip += [alt.Tooltip(f"{f}:Q", format=".1%") for f in ("accuracy", "low", "high")]
    base = chart(data, height=280).encode(
        x=alt.X("bin:O", sort=None, title="difficulty, from and to", axis=axis, scale=alt.Scale(paddingInner=0.3)),
        xOffset=alt.XOffset("row:N", sort=list(colours)),
        color=coloured("row", colours),
    )
    return base.mark_rule(strokeWidth=2, opacity=0.6).encode(y=y, y2="high:Q") + base.mark_point(
        size=55, filled=True, opacity=1
    ).encode(y="accuracy:Q", tooltip=tooltip, shape=shaped("row", rows, names))


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _reliability(results: Results) -> Any:
    """Reliability diagram: accuracy against confidence."""
    names = names_of(results, [curve.row for curve in results.reliability])
    rows = [results.row(key) for key in names]
    colours = row_colours(rows, names)
    data = [
        {
            "row": names[curve.row],
            "confidence": b.confidence,
            "accuracy": b.accuracy,
            "answers": b.n_items,
            "student": results.row(curve.row).kind == "student",
        }
        for curve in results.reliability
        for b in curve.bins
        if b.n_items >= FEWEST
    ]
    low = 1.0 / len(results.task.choices) if results.task.choices else 0.0
    scale = alt.Scale(domain=[low, 1.0], clamp=True)
    diagonal = (
        alt.Chart(alt.Data(values=[{"confidence": v, "accuracy": v} for v in (low, 1.0)]))
        .mark_line(strokeDash=[3, 3], strokeWidth=1, color="var(--soft)")
        .encode(x="confidence:Q", y="accuracy:Q")
    )
    y = alt.Y("accuracy:Q", axis=PERCENT, title="share of right answers", scale=alt.Scale(zero=False))
    curve = chart(data, height=300).encode(
        x=alt.X("confidence:Q", axis=PERCENT, title="confidence", scale=scale), y=y, color=coloured("row", colours)
    )
    size = alt.Size("answers:Q", legend=None, scale=alt.Scale(range=[15, 200]))
    tooltip = [alt.Tooltip("row:N"), *(alt.Tooltip(f"{f}:Q", format=".1%") for f in ("confidence", "accuracy"))]
    points = curve.mark_point(filled=True, opacity=1).encode(
        size=size, shape=shaped("row", rows, names), tooltip=[*tooltip, alt.Tooltip("answers:Q")]
    )
    dash = alt.StrokeDash("student:N", scale=alt.Scale(domain=[False, True], range=[[1, 0], [5, 2]]), legend=None)
    return diagonal + curve.mark_line(strokeWidth=1.5).encode(strokeDash=dash) + points


def _people(results: Results) -> Any:
    """Label accuracy against the number of items that people answered."""
    data = [
        {"order": curve.order, "people": p.n_people, "accuracy": p.accuracy.mean}
        | {"low": p.accuracy.low, "high": p.accuracy.high}
        for curve in results.budget
        for p in curve.points
    ]
    # All curves are of one method's labels, and have its colour; orders differ by their dashes.
    dashes = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [1, 4]][: len(results.budget)]
    dash = alt.StrokeDash(
        "order:N",
        scale=alt.Scale(domain=[curve.order for curve in results.budget], range=dashes),
        legend=alt.Legend(title=None, orient="bottom", symbolType="stroke", symbolSize=500),
    )
    shares = alt.Scale(zero=False, domainMax=1.0, clamp=True)
    y = alt.Y("accuracy:Q", axis=PERCENT, title="share of right labels", scale=shares)
    base = chart(data, height=280).encode(
        x=alt.X("people:Q", title="items that people answered", axis=alt.Axis(tickCount=5)), detail="order:N"
    )
    tooltip = [alt.Tooltip("order:N"), alt.Tooltip("people:Q", format=",.0f")]
    tooltip += [alt.Tooltip(f"{f}:Q", format=".1%") for f in ("accuracy", "low", "high")]
    method = colour_of(Condition(kind="ensemble", method=results.budget[0].method))
    colours = {curve.order: GREY if curve.order.startswith("random") else method for curve in results.budget}
    base = base.encode(color=coloured("order", colours, legend=False))
    band = base.mark_area(opacity=0.08, line=False).encode(y=alt.Y("low:Q", scale=shares), y2="high:Q")
    lines = base.mark_line(strokeWidth=2).encode(y=y, strokeDash=dash)
    return band + lines + base.mark_circle(size=22, opacity=1).encode(y=y, tooltip=tooltip)


def _time(timing: Timing) -> Any:
    """Seconds of each stage."""
    rows = [{"stage": s.stage, "seconds": s.seconds, "computed": s.computed, "reused": s.reused} for s in timing.stages]
    tooltip = [alt.Tooltip(f"{f}:Q") for f in ("seconds", "computed", "reused")]
    return (
        chart(rows, height=alt.Step(22))
        .mark_bar(color="var(--accent)")
        .encode(
            x=alt.X("seconds:Q", title="seconds", axis=alt.Axis(tickCount=6)),
            y=alt.Y("stage:N", sort=None, title=None),
            tooltip=tooltip,
        )
    )
