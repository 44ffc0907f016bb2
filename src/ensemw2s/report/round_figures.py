"""Figures of an ensemble's rounds: accuracy by size, errors under the sample weights, correlation of errors."""

from collections import defaultdict
from typing import Any

import altair as alt

from ensemw2s.report.charts import PERCENT, chart, colour, seeds_and_mean
from ensemw2s.results import EnsembleTrace

ROUND_FIELDS = {
    "weighted error (eps) of expert t": "weighted_error",
    "vote (alpha, nats) of expert t": "expert_weight",
    "effective sample size of round t": "effective_sample_size",
}


def accuracy_by_round(traces: list[EnsembleTrace], part: str, together: bool) -> Any:
    """Accuracy of the first t experts, or of expert t alone, on one part; rings mark sizes chosen on easy-val."""
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
        y=alt.Y("accuracy:Q", scale=alt.Scale(zero=False), axis=PERCENT, title=None), color=colour("method")
    )
    lines = seeds_and_mean(base, "accuracy")
    if not together:
        return lines
    return lines + base.transform_filter("datum.chosen").mark_point(size=45, strokeWidth=1.6).encode(detail="seed:N")


def _rounds(rows: list[dict[str, Any]], height: int) -> Any:
    """A chart over the rounds."""
    return chart(rows, height=height).encode(x=alt.X("t:O", title="round t", axis=alt.Axis(labelAngle=0)))


def answers(traces: list[EnsembleTrace]) -> Any:
    """Error under D_t of expert t and of the expert before it, with the prior error."""
    rows = [
        {"t": r.round + 1, "seed": e.seed, "who": who, "error": value}
        for e in traces
        for r in e.rounds
        for who, value in (("expert t", r.weighted_error), ("expert t−1", r.previous_error))
        if value is not None
    ]
    prior = alt.Chart(alt.Data(values=[{"error": sum(e.prior_error for e in traces) / len(traces)}]))
    y = alt.Y("error:Q", scale=alt.Scale(zero=False), axis=PERCENT, title=None)
    return prior.mark_rule(strokeDash=[3, 3]).encode(y=y) + seeds_and_mean(
        _rounds(rows, 190).encode(y=y, color=colour("who")), "error"
    )


def by_round(traces: list[EnsembleTrace], field: str) -> Any:
    """One field of each round, by method."""
    rows = [
        {"t": r.round + 1, "method": e.method, "seed": e.seed, field: getattr(r, field)}
        for e in traces
        for r in e.rounds
    ]
    axis = PERCENT if field == "weighted_error" else alt.Axis(tickCount=5)
    y = alt.Y(f"{field}:Q", scale=alt.Scale(zero=False), axis=axis, title=None)
    return seeds_and_mean(_rounds(rows, 190).encode(y=y, color=colour("method")), field)


def correlation(traces: list[EnsembleTrace]) -> Any:
    """Mean over seeds of one method's pairwise error correlation."""
    cells: dict[tuple[int, int], list[float]] = defaultdict(list)
    for e in traces:
        for i, row in enumerate(e.error_correlation):
            for j, value in enumerate(row):
                cells[i + 1, j + 1].append(value)
    rows = [{"i": i, "j": j, "correlation": sum(v) / len(v)} for (i, j), v in cells.items()]
    axis = alt.Axis(labelAngle=0, title=None)
    # Negative correlation is rare and means the opposite, so the scale is centred at 0.
    scale = alt.Scale(domain=[-1, 1], scheme="blueorange")
    return (
        chart(rows, height=200)
        .mark_rect()
        .encode(
            x=alt.X("i:O", axis=axis),
            y=alt.Y("j:O", axis=axis),
            color=alt.Color("correlation:Q", scale=scale, legend=alt.Legend(title="correlation", orient="bottom")),
            tooltip=[alt.Tooltip("i:O"), alt.Tooltip("j:O"), alt.Tooltip("correlation:Q", format=".2f")],
        )
    )
