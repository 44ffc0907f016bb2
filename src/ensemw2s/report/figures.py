"""One function per figure: results in, a chart out. Colours that depend on the page's theme are left to the page."""

from collections import defaultdict
from typing import Any

import altair as alt

from ensemw2s.report.table import distances
from ensemw2s.results import EnsembleTrace, Results, Timing

# Okabe and Ito's palette: told apart by readers with any of the common colour deficiencies.
PALETTE = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999"]
PARTS = {"easy_val": "easy-val", "id_test": "ID", "ood_test": "OOD"}
PERCENT = alt.Axis(format=".0%", tickCount=5)
ROUND_FIELDS = {
    "weighted error (eps) of expert t": "weighted_error",
    "vote (alpha, nats) of expert t": "expert_weight",
    "effective sample size of round t": "effective_sample_size",
}

Spec = dict[str, Any]


def figures(results: Results, timing: Timing | None) -> dict[str, Spec]:
    """All charts of the page: section id and, behind a slash, the panel. What a run lacks has no chart.

    They are not checked against the schema of Vega-Lite, which takes as long as making them; the tests do that.
    """
    charts: dict[str, Any] = {}
    if distances(results):
        charts["gains"] = _gains(results)
    if results.difficulty:
        charts["difficulty"] = _difficulty(results)
    if results.reliability:
        charts["reliability"] = _reliability(results)
    if results.budget:
        charts["people"] = _people(results)
    grown = [e for e in results.ensembles if len(e.rounds) > 1]
    if grown:
        for part, name in PARTS.items():
            if part not in grown[0].rounds[0].ensemble_accuracy:
                continue
            charts[f"rounds/together, {name}"] = _accuracy_by_round(grown, part, together=True)
            charts[f"rounds/each alone, {name}"] = _accuracy_by_round(grown, part, together=False)
        if boosted := [e for e in grown if e.method == "boosting"]:
            charts["answers/boosting: error under the weights of round t"] = _answers(boosted)
        for title, field in ROUND_FIELDS.items():
            charts[f"answers/{title}"] = _by_round(grown, field)
    for method in dict.fromkeys(e.method for e in grown):
        charts[f"correlation/{method}"] = _correlation([e for e in grown if e.method == method])
    if timing is not None and timing.stages:
        charts["time"] = _time(timing)
    return {name: chart.to_dict(validate=False) for name, chart in charts.items()}


def _chart(rows: list[dict[str, Any]], **size: Any) -> Any:
    return alt.Chart(alt.Data(values=rows)).properties(width="container", **size)


def _colour(field: str, **more: Any) -> alt.Color:
    legend = alt.Legend(title=None, orient="bottom", symbolType="circle", symbolOpacity=1, symbolStrokeWidth=0)
    return alt.Color(field, type="nominal", sort=None, scale=alt.Scale(range=PALETTE), legend=legend, **more)


def _seeds_and_mean(base: Any, field: str) -> Any:
    """A faint line per seed under the mean over seeds."""
    return base.mark_line(strokeWidth=0.8, opacity=0.22).encode(detail="seed:N") + base.mark_line(
        strokeWidth=2, point=alt.OverlayMarkDef(size=22)
    ).encode(y=f"mean({field}):Q")


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
    base = _chart(rows, height=alt.Step(16)).encode(y=y, yOffset=offset, color=_colour("against"))
    tooltip = [alt.Tooltip("row:N"), alt.Tooltip("against:N")]
    tooltip += [alt.Tooltip(f"{f}:Q", format="+.2%") for f in ("mean", "low", "high")]
    zero = alt.Chart(alt.Data(values=[{"zero": 0}])).mark_rule(strokeDash=[3, 3]).encode(x=alt.X("zero:Q"))
    return (
        zero
        + base.mark_rule(strokeWidth=2).encode(x=x, x2="high:Q")
        + base.mark_circle(size=45, opacity=1).encode(x="mean:Q", tooltip=tooltip)
    )


def _accuracy_by_round(traces: list[EnsembleTrace], part: str, together: bool) -> Any:
    """The first t experts together, or expert t alone, on one part; rings are the sizes chosen on easy-val."""
    rows = [
        {
            "t": r.round + 1,
            "method": e.method,
            "seed": e.seed,
            "accuracy": (r.ensemble_accuracy if together else r.member_accuracy)[part],
            "chosen": together and r.round + 1 == e.selected,
        }
        for e in traces
        for r in e.rounds
    ]
    base = _rounds(rows, 170).encode(
        y=alt.Y("accuracy:Q", scale=alt.Scale(zero=False), axis=PERCENT, title=None), color=_colour("method")
    )
    lines = _seeds_and_mean(base, "accuracy")
    if not together:
        return lines
    return lines + base.transform_filter("datum.chosen").mark_point(size=45, strokeWidth=1.6).encode(detail="seed:N")


def _rounds(rows: list[dict[str, Any]], height: int) -> Any:
    return _chart(rows, height=height).encode(x=alt.X("t:O", title="round t", axis=alt.Axis(labelAngle=0)))


def _answers(traces: list[EnsembleTrace]) -> Any:
    """Does the new expert answer to its weights? Its error under D_t, the previous expert's, and the prior."""
    rows = [
        {"t": r.round + 1, "seed": e.seed, "who": who, "error": value}
        for e in traces
        for r in e.rounds
        for who, value in (("expert t", r.weighted_error), ("expert t−1", r.previous_error))
        if value is not None
    ]
    prior = alt.Chart(alt.Data(values=[{"error": sum(e.prior_error for e in traces) / len(traces)}]))
    y = alt.Y("error:Q", scale=alt.Scale(zero=False), axis=PERCENT, title=None)
    return prior.mark_rule(strokeDash=[3, 3]).encode(y=y) + _seeds_and_mean(
        _rounds(rows, 190).encode(y=y, color=_colour("who")), "error"
    )


def _by_round(traces: list[EnsembleTrace], field: str) -> Any:
    """One field of every round, by method."""
    rows = [
        {"t": r.round + 1, "method": e.method, "seed": e.seed, field: getattr(r, field)}
        for e in traces
        for r in e.rounds
    ]
    axis = PERCENT if field == "weighted_error" else alt.Axis(tickCount=5)
    y = alt.Y(f"{field}:Q", scale=alt.Scale(zero=False), axis=axis, title=None)
    return _seeds_and_mean(_rounds(rows, 190).encode(y=y, color=_colour("method")), field)


def _difficulty(results: Results) -> Any:
    """Accuracy by bin of difficulty, rows side by side within a bin so that no interval hides another."""
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
    base = _chart(rows, height=280).encode(
        x=alt.X("bin:O", sort=None, title="difficulty, from and to", axis=axis, scale=alt.Scale(paddingInner=0.3)),
        xOffset=alt.XOffset("row:N", sort=None),
        color=_colour("row"),
    )
    return base.mark_rule(strokeWidth=2, opacity=0.6).encode(y=y, y2="high:Q") + base.mark_circle(
        size=50, opacity=1
    ).encode(y="accuracy:Q", tooltip=tooltip)


def _reliability(results: Results) -> Any:
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
    curve = _chart(rows, height=280).encode(
        x=alt.X("confidence:Q", axis=PERCENT, title="confidence", scale=scale), y=y, color=_colour("row")
    )
    size = alt.Size("items:Q", legend=None, scale=alt.Scale(range=[15, 200]))
    tooltip = [
        alt.Tooltip("row:N"),
        alt.Tooltip("confidence:Q", format=".1%"),
        alt.Tooltip("accuracy:Q", format=".1%"),
        alt.Tooltip("items:Q"),
    ]
    return diagonal + curve.mark_line(strokeWidth=1.5) + curve.mark_circle(opacity=1).encode(size=size, tooltip=tooltip)


def _people(results: Results) -> Any:
    """Label accuracy against the number of items that people answer."""
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
    base = _chart(rows, height=280).encode(
        x=alt.X("people:Q", title="items that people answered"), color=_colour("order")
    )
    tooltip = [alt.Tooltip("order:N"), alt.Tooltip("people:Q", format=",.0f")]
    tooltip += [alt.Tooltip(f"{f}:Q", format=".1%") for f in ("accuracy", "low", "high")]
    band = base.mark_area(opacity=0.1, line=False).encode(
        y=alt.Y("low:Q", scale=alt.Scale(zero=False, domainMax=1.0, clamp=True)), y2="high:Q"
    )
    return band + base.mark_line(strokeWidth=1.8, point=alt.OverlayMarkDef(size=22)).encode(y=y, tooltip=tooltip)


def _correlation(traces: list[EnsembleTrace]) -> Any:
    """Mean over seeds of one method's pairwise error correlation."""
    cells: dict[tuple[int, int], list[float]] = defaultdict(list)
    for e in traces:
        for i, row in enumerate(e.error_correlation):
            for j, value in enumerate(row):
                cells[i + 1, j + 1].append(value)
    rows = [{"i": i, "j": j, "correlation": sum(v) / len(v)} for (i, j), v in cells.items()]
    axis = alt.Axis(labelAngle=0, title=None)
    # Below 0 is rare and means the opposite, so the scale is centred there.
    scale = alt.Scale(domain=[-1, 1], scheme="blueorange")
    return (
        _chart(rows, height=200)
        .mark_rect()
        .encode(
            x=alt.X("i:O", axis=axis),
            y=alt.Y("j:O", axis=axis),
            color=alt.Color("correlation:Q", scale=scale, legend=alt.Legend(title="correlation", orient="bottom")),
            tooltip=[alt.Tooltip("i:O"), alt.Tooltip("j:O"), alt.Tooltip("correlation:Q", format=".2f")],
        )
    )


def _time(timing: Timing) -> Any:
    rows = [{"stage": s.stage, "seconds": s.seconds, "computed": s.computed, "reused": s.reused} for s in timing.stages]
    tooltip = [alt.Tooltip(f"{f}:Q") for f in ("seconds", "computed", "reused")]
    return (
        _chart(rows, height=alt.Step(22))
        .mark_bar(color=PALETTE[0])
        .encode(
            x=alt.X("seconds:Q", title="seconds", axis=alt.Axis(tickCount=6)),
            y=alt.Y("stage:N", sort=None, title=None),
            tooltip=tooltip,
        )
    )
