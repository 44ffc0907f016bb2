"""One function per figure: results in, a chart out. Colours that depend on the page's theme are left to the page."""

from collections import defaultdict
from typing import Any

import altair as alt

from ensemw2s.report.table import distances
from ensemw2s.results import EnsembleTrace, Results, Timing

# Okabe and Ito's palette: told apart by readers with any of the common colour deficiencies.
PALETTE = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999"]
PARTS = {"easy_val": "easy-val", "id_test": "ID", "ood_test": "OOD"}
PERCENT = alt.Axis(format=".0%")

Spec = dict[str, Any]


def figures(results: Results, timing: Timing | None) -> dict[str, Spec]:
    """All charts of the page: section id and, behind a slash, the panel. What a run lacks has no chart."""
    charts: dict[str, Any] = {}
    if distances(results):
        charts["gains"] = _gains(results)
    charts |= {"difficulty": _difficulty(results), "reliability": _reliability(results)}
    grown = [e for e in results.ensembles if len(e.rounds) > 1]
    if grown:
        charts |= {f"rounds/accuracy on {PARTS[part]}": _accuracy_by_round(grown, part) for part in PARTS}
    if boosted := [e for e in grown if e.method == "boosting"]:
        charts["answers/errors"] = _errors_by_round(boosted)
        charts["answers/weights"] = _weights_by_round(boosted)
    for method in dict.fromkeys(e.method for e in grown):
        charts[f"correlation/{method}"] = _correlation([e for e in grown if e.method == method])
    if timing is not None and timing.stages:
        charts["time"] = _time(timing)
    return {name: chart.to_dict() for name, chart in charts.items()}


def _chart(rows: list[dict[str, Any]], **size: Any) -> Any:
    return alt.Chart(alt.Data(values=rows)).properties(width="container", **size)


def _colour(field: str, title: str | None = None, columns: int = 2) -> alt.Color:
    legend = alt.Legend(title=title, orient="bottom", columns=columns, labelLimit=330)
    return alt.Color(field, type="nominal", sort=None, scale=alt.Scale(range=PALETTE), legend=legend)


def _gains(results: Results) -> Any:
    """Forest plot of paired OOD differences."""
    rows = [
        {
            "row": label,
            "against": "strong on easy" if c.baseline == "strong_on_easy" else "single weak expert's student",
            "mean": c.difference.mean,
            "low": c.difference.low,
            "high": c.difference.high,
        }
        for c, label in distances(results)
    ]
    y = alt.Y("row:N", sort=None, title=None, axis=alt.Axis(labelLimit=250))
    offset = alt.YOffset("against:N")
    x = alt.X("low:Q", title="points of OOD accuracy, row minus baseline", axis=alt.Axis(format="+.1%"))
    base = _chart(rows, height=alt.Step(11)).encode(y=y, yOffset=offset, color=_colour("against"))
    tooltip = [alt.Tooltip("row:N"), alt.Tooltip("against:N")]
    tooltip += [alt.Tooltip(f"{f}:Q", format="+.2%") for f in ("mean", "low", "high")]
    zero = alt.Chart(alt.Data(values=[{"zero": 0}])).mark_rule(strokeDash=[3, 3]).encode(x=alt.X("zero:Q"))
    return (
        zero
        + base.mark_rule(strokeWidth=2).encode(x=x, x2="high:Q")
        + base.mark_circle(size=45, opacity=1).encode(x="mean:Q", tooltip=tooltip)
    )


def _accuracy_by_round(traces: list[EnsembleTrace], part: str) -> Any:
    """Members alone and together on one part; thin lines are seeds, dots the sizes chosen on easy-val."""
    rows = [
        {
            "t": r.round + 1,
            "method": e.method,
            "seed": e.seed,
            "who": who,
            "accuracy": values[part],
            "chosen": who.startswith("ensemble") and r.round + 1 == e.selected,
        }
        for e in traces
        for r in e.rounds
        for who, values in (("ensemble of the first t", r.ensemble_accuracy), ("expert t alone", r.member_accuracy))
    ]
    base = _chart(rows, height=160).encode(
        x=alt.X("t:O", title="round t", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("accuracy:Q", scale=alt.Scale(zero=False), axis=PERCENT, title=None),
        color=_colour("method"),
        strokeDash=alt.StrokeDash("who:N", sort=None, legend=alt.Legend(title=None, orient="bottom")),
    )
    thin = base.mark_line(strokeWidth=0.7, opacity=0.25).encode(detail="seed:N")
    chosen = base.transform_filter("datum.chosen").mark_circle(size=40, opacity=1).encode(detail="seed:N")
    return thin + base.mark_line(strokeWidth=2).encode(y="mean(accuracy):Q") + chosen


def _errors_by_round(traces: list[EnsembleTrace]) -> Any:
    """Does the new expert answer to its weights? Its error under D_t beside the previous expert's."""
    rows = [
        {"t": r.round + 1, "seed": e.seed, "who": who, "error": value}
        for e in traces
        for r in e.rounds
        for who, value in (
            ("expert t (weighted error)", r.weighted_error),
            ("expert t-1 under the same weights", r.previous_error),
        )
        if value is not None
    ]
    base = _chart(rows, height=200).encode(
        x=alt.X("t:O", title="boosting round t", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("error:Q", scale=alt.Scale(zero=False), axis=PERCENT, title="error under the weights of round t"),
        color=_colour("who"),
    )
    return base.mark_line(strokeWidth=0.7, opacity=0.3).encode(detail="seed:N") + base.mark_line(
        strokeWidth=2, point=True
    ).encode(y="mean(error):Q")


def _weights_by_round(traces: list[EnsembleTrace]) -> Any:
    """The expert's vote and how many samples the weights still amount to."""
    n = {e.seed: e.rounds[0].effective_sample_size for e in traces}
    rows = [
        {"t": r.round + 1, "seed": e.seed, "what": what, "value": value}
        for e in traces
        for r in e.rounds
        for what, value in (
            ("alpha (nats)", r.expert_weight),
            ("effective sample size / N", r.effective_sample_size / n[e.seed]),
        )
    ]
    base = _chart(rows, height=200).encode(
        x=alt.X("t:O", title="boosting round t", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("value:Q", title=None),
        color=_colour("what"),
    )
    return base.mark_line(strokeWidth=0.7, opacity=0.3).encode(detail="seed:N") + base.mark_line(
        strokeWidth=2, point=True
    ).encode(y="mean(value):Q")


def _difficulty(results: Results) -> Any:
    labels = {r.key: r.label for r in results.rows}
    rows = [
        {
            "row": labels[curve.row],
            "difficulty": (b.low + b.high) / 2,
            "accuracy": b.accuracy.mean,
            "low": b.accuracy.low,
            "high": b.accuracy.high,
            "items": b.n_items,
        }
        for curve in results.difficulty
        for b in curve.bins
    ]
    x = alt.X("difficulty:Q", title=f"difficulty: {results.task.difficulty_meaning}", scale=alt.Scale(zero=False))
    y = alt.Y("accuracy:Q", scale=alt.Scale(zero=False), axis=PERCENT, title="accuracy")
    tooltip = [alt.Tooltip("row:N"), alt.Tooltip("accuracy:Q", format=".1%"), alt.Tooltip("items:Q")]
    base = _chart(rows, height=280).encode(x=x, color=_colour("row", columns=1))
    return base.mark_errorbar(opacity=0.35).encode(
        y=alt.Y("low:Q", scale=alt.Scale(zero=False), title="accuracy"), y2="high:Q"
    ) + base.mark_line(point=True, strokeWidth=2).encode(y=y, tooltip=tooltip)


def _reliability(results: Results) -> Any:
    labels = {r.key: r.label for r in results.rows}
    rows = [
        {"row": labels[curve.row], "confidence": b.confidence, "accuracy": b.accuracy, "items": b.n_items}
        for curve in results.reliability
        for b in curve.bins
    ]
    low = 1.0 / len(results.task.choices)
    scale = alt.Scale(domain=[low, 1.0], clamp=True)
    diagonal = (
        alt.Chart(alt.Data(values=[{"confidence": v, "accuracy": v} for v in (low, 1.0)]))
        .mark_line(strokeDash=[3, 3], strokeWidth=1, color="#999999")
        .encode(x="confidence:Q", y="accuracy:Q")
    )
    y = alt.Y("accuracy:Q", axis=PERCENT, title="accuracy on OOD", scale=alt.Scale(zero=False))
    curve = _chart(rows, height=280).encode(
        x=alt.X("confidence:Q", axis=PERCENT, title="confidence", scale=scale), y=y, color=_colour("row", columns=1)
    )
    size = alt.Size("items:Q", legend=None, scale=alt.Scale(range=[15, 200]))
    tooltip = [
        alt.Tooltip("row:N"),
        alt.Tooltip("confidence:Q", format=".1%"),
        alt.Tooltip("accuracy:Q", format=".1%"),
        alt.Tooltip("items:Q"),
    ]
    return diagonal + curve.mark_line(strokeWidth=1.5) + curve.mark_circle(opacity=1).encode(size=size, tooltip=tooltip)


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
        .encode(x=alt.X("seconds:Q", title="seconds"), y=alt.Y("stage:N", sort=None, title=None), tooltip=tooltip)
    )
