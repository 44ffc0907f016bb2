"""Figures of a run, one function each, from results to a chart. Colours of the theme are set by the page."""

from typing import Any

import altair as alt

from ensemw2s.names import BOOSTING
from ensemw2s.report.charts import PALETTE, PARTS, PERCENT, Spec, chart, colour
from ensemw2s.report.round_figures import ROUND_FIELDS, accuracy_by_round, answers, by_round, correlation
from ensemw2s.report.table import distances
from ensemw2s.results import Results, Timing

MOST_CLASSES = 20
"""With more of them a matrix of all pairs cannot be read."""


def figures(results: Results, timing: Timing | None) -> dict[str, Spec]:
    """All charts of the page, by section id and, behind a slash, the panel. What a run lacks has no chart.

    They are not checked against the schema of Vega-Lite, which takes as long as making them; the tests do that.
    """
    charts: dict[str, Any] = {}
    if distances(results):
        charts["gains"] = _gains(results)
    if results.difficulty:
        charts["difficulty"] = _difficulty(results)
    if results.reliability:
        charts["reliability"] = _reliability(results)
    if results.confusion and len(results.task.choices) <= MOST_CLASSES:
        charts["classes"] = _confusion(results)
    if results.budget:
        charts["people"] = _people(results)
    several = [e for e in results.ensembles if len(e.rounds) > 1]
    if several:
        for part, name in PARTS.items():
            if part not in several[0].rounds[0].ensemble_accuracy:
                continue
            charts[f"rounds/together, {name}"] = accuracy_by_round(several, part, together=True)
            charts[f"rounds/each alone, {name}"] = accuracy_by_round(several, part, together=False)
        if boosted := [e for e in several if e.method == BOOSTING]:
            charts[f"answers/{BOOSTING}: error under the weights of round t"] = answers(boosted)
        for title, field in ROUND_FIELDS.items():
            charts[f"answers/{title}"] = by_round(several, field)
    for method in dict.fromkeys(e.method for e in several):
        charts[f"correlation/{method}"] = correlation([e for e in several if e.method == method])
    if timing is not None and timing.stages:
        charts["time"] = _time(timing)
    return {name: one.to_dict(validate=False) for name, one in charts.items()}


def _gains(results: Results) -> Any:
    """Forest plot of paired differences."""
    rows = [
        {
            "row": label,
            "against": "strong on easy" if c.baseline == "strong_on_easy" else "single's student",
            "mean": c.difference.mean,
            "low": c.difference.low,
            "high": c.difference.high,
        }
        for c, label in distances(results)
    ]
    y = alt.Y(
        "row:N",
        sort=None,
        title=None,
        axis=alt.Axis(labelLimit=230, labelExpr="split(replace(datum.label, ': ', ':, '), ', ')"),
    )
    offset = alt.YOffset("against:N")
    x = alt.X(
        "low:Q",
        title=f"points of {PARTS[results.hardest_test]} {results.metric}",
        axis=alt.Axis(labelExpr="format(100 * datum.value, '+')", tickCount=6),
    )
    base = chart(rows, height=alt.Step(16)).encode(y=y, yOffset=offset, color=colour("against"))
    tooltip = [alt.Tooltip("row:N"), alt.Tooltip("against:N")]
    tooltip += [alt.Tooltip(f"{f}:Q", format="+.2%") for f in ("mean", "low", "high")]
    zero = alt.Chart(alt.Data(values=[{"zero": 0}])).mark_rule(strokeDash=[3, 3]).encode(x=alt.X("zero:Q"))
    return (
        zero
        + base.mark_rule(strokeWidth=2).encode(x=x, x2="high:Q")
        + base.mark_circle(size=45, opacity=1).encode(x="mean:Q", tooltip=tooltip)
    )


def _difficulty(results: Results) -> Any:
    """Accuracy by bin of difficulty; rows are side by side within a bin so that intervals do not overlap."""
    labels = {r.key: r.label for r in results.rows}
    rows = [
        {
            "row": labels[curve.row],
            "bin": f"{b.low:,.6g} to {b.high:,.6g}",
            "accuracy": b.accuracy.mean,
            "low": b.accuracy.low,
            "high": b.accuracy.high,
            "items": b.n_items,
        }
        for curve in results.difficulty
        for b in curve.bins
    ]
    axis = alt.Axis(labelAngle=0, labelExpr="split(datum.label, ' to ')", domain=False, ticks=False)
    y = alt.Y("low:Q", scale=alt.Scale(zero=False), axis=PERCENT, title=results.metric)
    tooltip = [alt.Tooltip("row:N"), alt.Tooltip("bin:N"), alt.Tooltip("items:Q")]
    tooltip += [alt.Tooltip(f"{f}:Q", format=".1%") for f in ("accuracy", "low", "high")]
    base = chart(rows, height=280).encode(
        x=alt.X("bin:O", sort=None, title="difficulty, from and to", axis=axis, scale=alt.Scale(paddingInner=0.3)),
        xOffset=alt.XOffset("row:N", sort=None),
        color=colour("row"),
    )
    return base.mark_rule(strokeWidth=2, opacity=0.6).encode(y=y, y2="high:Q") + base.mark_circle(
        size=50, opacity=1
    ).encode(y="accuracy:Q", tooltip=tooltip)


def _reliability(results: Results) -> Any:
    """Reliability diagram: accuracy against confidence."""
    labels = {r.key: r.label for r in results.rows}
    rows = [
        {"row": labels[curve.row], "confidence": b.confidence, "accuracy": b.accuracy, "items": b.n_items}
        for curve in results.reliability
        for b in curve.bins
    ]
    low = 1.0 / len(results.task.choices) if results.task.choices else 0.0
    scale = alt.Scale(domain=[low, 1.0], clamp=True)
    diagonal = (
        alt.Chart(alt.Data(values=[{"confidence": v, "accuracy": v} for v in (low, 1.0)]))
        .mark_line(strokeDash=[3, 3], strokeWidth=1, color="#999999")
        .encode(x="confidence:Q", y="accuracy:Q")
    )
    y = alt.Y("accuracy:Q", axis=PERCENT, title="share of right answers", scale=alt.Scale(zero=False))
    curve = chart(rows, height=280).encode(
        x=alt.X("confidence:Q", axis=PERCENT, title="confidence", scale=scale), y=y, color=colour("row")
    )
    size = alt.Size("items:Q", legend=None, scale=alt.Scale(range=[15, 200]))
    tooltip = [
        alt.Tooltip("row:N"),
        alt.Tooltip("confidence:Q", format=".1%"),
        alt.Tooltip("accuracy:Q", format=".1%"),
        alt.Tooltip("items:Q"),
    ]
    return diagonal + curve.mark_line(strokeWidth=1.5) + curve.mark_circle(opacity=1).encode(size=size, tooltip=tooltip)


def _confusion(results: Results) -> Any:
    """How often the items of each true class are given each class, by the row to use."""
    wanted = results.recommendation.rival or results.recommendation.row
    counts = next((each.counts for each in results.confusion if each.row == wanted), results.confusion[0].counts)
    names = results.task.choices
    rows = [
        {"true": names[i], "given": names[j], "items": n, "share": n / max(1, sum(line))}
        for i, line in enumerate(counts)
        for j, n in enumerate(line)
    ]
    axis = alt.Axis(labelAngle=0, labelLimit=120)
    tooltip = [alt.Tooltip("true:N"), alt.Tooltip("given:N"), alt.Tooltip("items:Q")]
    tooltip.append(alt.Tooltip("share:Q", format=".1%"))
    base = chart(rows, height=alt.Step(30)).encode(
        x=alt.X("given:N", sort=None, title="answer given", axis=axis),
        y=alt.Y("true:N", sort=None, title="true class", axis=axis),
    )
    colour_of = alt.Color("share:Q", scale=alt.Scale(domain=[0, 1], scheme="blues"), legend=None)
    dark = alt.condition("datum.share > 0.5", alt.value("white"), alt.value("black"))
    return base.mark_rect().encode(color=colour_of, tooltip=tooltip) + base.mark_text(fontSize=11).encode(
        text=alt.Text("share:Q", format=".0%"), color=dark
    )


def _people(results: Results) -> Any:
    """Label accuracy against the number of items that people answered."""
    rows = [
        {
            "order": c.order,
            "people": p.n_people,
            "accuracy": p.accuracy.mean,
            "low": p.accuracy.low,
            "high": p.accuracy.high,
        }
        for c in results.budget
        for p in c.points
    ]
    y = alt.Y(
        "accuracy:Q",
        axis=PERCENT,
        title="share of right labels",
        scale=alt.Scale(zero=False, domainMax=1.0, clamp=True),
    )
    base = chart(rows, height=280).encode(
        x=alt.X("people:Q", title="items that people answered"), color=colour("order")
    )
    tooltip = [alt.Tooltip("order:N"), alt.Tooltip("people:Q", format=",.0f")]
    tooltip += [alt.Tooltip(f"{f}:Q", format=".1%") for f in ("accuracy", "low", "high")]
    band = base.mark_area(opacity=0.1, line=False).encode(
        y=alt.Y("low:Q", scale=alt.Scale(zero=False, domainMax=1.0, clamp=True)), y2="high:Q"
    )
    return band + base.mark_line(strokeWidth=1.8, point=alt.OverlayMarkDef(size=22)).encode(y=y, tooltip=tooltip)


def _time(timing: Timing) -> Any:
    """Seconds of each stage."""
    rows = [{"stage": s.stage, "seconds": s.seconds, "computed": s.computed, "reused": s.reused} for s in timing.stages]
    tooltip = [alt.Tooltip(f"{f}:Q") for f in ("seconds", "computed", "reused")]
    return (
        chart(rows, height=alt.Step(22))
        .mark_bar(color=PALETTE[0])
        .encode(
            x=alt.X("seconds:Q", title="seconds", axis=alt.Axis(tickCount=6)),
            y=alt.Y("stage:N", sort=None, title=None),
            tooltip=tooltip,
        )
    )
