"""The first screen below the verdict: the rows that are compared first, three figures, and what to do next."""

from dataclasses import dataclass
from typing import Any

import altair as alt

from ensemw2s.report.charts import PARTS, PERCENT, chart, coloured, row_colours
from ensemw2s.report.table import short
from ensemw2s.results import Comparison, Interval, Pgr, Results, Row
from ensemw2s.results.conditions import STRONG_ON_EASY
from ensemw2s.results.picks import best_student, main_rows
from ensemw2s.text import shell_line

ENOUGH_SEEDS = 5
STAR = "★"


def overview(results: Results) -> Any:
    """Dot plot of the rows that are compared first, on the hardest test: interval, mean, and a tick for each seed."""
    used = results.recommendation.rival or results.recommendation.row
    parts = {row.key: f"{part} {STAR}" if row.key == used else part for part, row in main_rows(results)}
    rows = [results.row(key) for key in parts]
    figures = {row.key: row.parts[results.hardest_test]["accuracy"] for row in rows}
    data = [
        # Written here and not by the browser, which rounds 53.25 in another way than the tables do.
        {"part": parts[key], "row": results.row(key).label, "mean": f.interval.mean}
        | {"shown": f"{100 * f.interval.mean:.1f}"}
        | {"low": f.interval.low, "high": f.interval.high}
        for key, f in figures.items()
    ]
    seeds = [
        {"part": parts[key], "seed": seed, "value": value}
        for key, f in figures.items()
        for seed, value in zip(results.seeds, f.per_seed, strict=True)
    ]
    colours = row_colours(rows, parts)
    weight = {"condition": {"test": f"indexof(datum.label, '{STAR}') > 0", "value": "bold"}, "value": "normal"}
    axis = alt.Axis(
        labelLimit=150, labelColor="var(--ink)", labelFontSize=12, labelFontWeight=weight, domain=False, ticks=False
    )
    y = alt.Y("part:N", sort=None, title=None, axis=axis)
    title = f"{results.metric} on the {_test_in_words(results)}"
    x = alt.X("low:Q", title=title, axis=PERCENT, scale=alt.Scale(zero=False, nice=True))
    base = chart(data, height=alt.Step(34)).encode(y=y, color=coloured("part", colours, legend=False))
    tooltip = [alt.Tooltip("row:N"), *(alt.Tooltip(f"{f}:Q", format=".1%") for f in ("mean", "low", "high"))]
    value = alt.Tooltip("value:Q", format=".1%")
    ticks = (
        chart(seeds)
        .mark_tick(thickness=1.5, size=9, opacity=0.45)
        .encode(
            x="value:Q",
            y=y,
            color=coloured("part", colours, legend=False),
            tooltip=["seed:N", value],
        )
    )
    text = base.mark_text(dy=-12, fontSize=11.5)
    text = text.encode(x="mean:Q", text="shown:N", color=alt.value("var(--ink)"))
    halo = text.encode(stroke=alt.value("var(--paper)"), strokeWidth=alt.value(4))
    reference = [f.interval.mean for key, f in figures.items() if key == STRONG_ON_EASY.key]
    line = alt.Chart(alt.Data(values=[{"mean": mean} for mean in reference]))
    return (
        line.mark_rule(strokeDash=[3, 3]).encode(x="mean:Q")
        + base.mark_rule(strokeWidth=2.5).encode(x=x, x2="high:Q")
        + ticks
        + base.mark_circle(size=90, opacity=1).encode(x="mean:Q", tooltip=tooltip)
        + halo
        + text
    )


def _test_in_words(results: Results) -> str:
    if results.hardest_test == "id_test":
        return "easy test (ID)"
    split = results.config.get("split")
    is_random = isinstance(split, dict) and split.get("kind") == "random"
    return "held-out test" if is_random else f"hard test ({PARTS['ood_test']})"


@dataclass(frozen=True)
class Tile:
    """One figure of the first screen."""

    title: str
    term: str
    """In the glossary."""
    value: str
    note: str


def tiles(results: Results) -> list[Tile]:
    """Gain over strong-on-easy, gap recovered, cost: of the row to use; of the best student where that is
    strong-on-easy."""
    row = results.row(results.recommendation.rival or results.recommendation.row)
    if row.condition == STRONG_ON_EASY:
        row = best_student(results.rows) or row
    return [_gain(results, row), _recovered(results, row), _cost(results, row)]


def _gain(results: Results, row: Row) -> Tile:
    found = _difference(results, row)
    value = "not known" if found is None else f"{100 * found.mean:+.1f} points"
    interval = "" if found is None else f"95% interval {100 * found.low:+.1f} to {100 * found.high:+.1f}; "
    return Tile("Gain over strong-on-easy", "strong-on-easy", value, f"{interval}{row.who}")


def _difference(results: Results, row: Row) -> Interval | None:
    def between(a: str, b: str) -> Comparison | None:
        judged = (c for c in results.comparisons if c.part == results.hardest_test)
        return next((c for c in judged if (c.row, c.baseline) == (a, b)), None)

    if (found := between(row.key, STRONG_ON_EASY.key)) is not None:
        return found.difference
    if (found := between(STRONG_ON_EASY.key, row.key)) is None:
        return None
    d = found.difference
    return Interval(mean=-d.mean, low=-d.high, high=-d.low, method=d.method)


def _recovered(results: Results, row: Row) -> Tile:
    found: Pgr | None = next((pgr for pgr in results.pgr if pgr.row == row.key), None)
    title = "Gap recovered"
    if found is None:
        return Tile(title, "gap-recovered", "not known", "it is given for trained strong models")
    if found.value is None:
        return Tile(title, "gap-recovered", "undefined", found.reason)
    v = found.value
    note = f"95% interval {100 * v.low:.0f}% to {100 * v.high:.0f}%; from one weak expert to the ceiling"
    return Tile(title, "gap-recovered", f"{100 * v.mean:.0f}%", note)


def _cost(results: Results, row: Row) -> Tile:
    base = next((r for r in results.rows if r.condition == STRONG_ON_EASY), None)
    flops, note = row.cost.flops, f"{short(row.cost.flops)} FLOPs, the labels' making included"
    if base is None or not base.cost.flops:
        return Tile("Cost", "flops", f"{short(flops)} FLOPs", "the labels' making included")
    times = flops / base.cost.flops
    return Tile(
        "Cost against strong-on-easy", "flops", f"{times:.1f} times" if times < 10 else f"{times:,.0f} times", note
    )


def next_steps(results: Results, folder: str) -> list[tuple[str, str]]:
    """What to do next, each as a sentence and a command; `folder` is the run's."""
    rival = results.recommendation.rival
    steps = list[tuple[str, str]]()
    if rival is None:
        command = ["ensemw2s", "predict", f"{folder}/student", "--input", "new.jsonl", "--output", "answers.jsonl"]
        steps.append(("Answer new questions with the exported student:", shell_line(command)))
    elif not results.row(rival).condition.is_trivial:
        command = ["ensemw2s", "label", "--ensemble", folder, "--input", "new.jsonl", "--output", "labels"]
        steps.append(("Answer new questions with the exported ensemble:", shell_line(command)))
    else:
        command = ["ensemw2s", "queue", folder, "--output", "queue.csv", "--budget", "200"]
        steps.append(("Have people label what the models are least sure of, then run again:", shell_line(command)))
    if len(results.seeds) < ENOUGH_SEEDS:
        more = [*results.seeds, *range(max(results.seeds) + 1, max(results.seeds) + 1 + ENOUGH_SEEDS)][:ENOUGH_SEEDS]
        seeds = f"seeds=[{','.join(map(str, more))}]"
        command = ["ensemw2s", "run", "YOUR.yaml", "--set", seeds, "--run-dir", f"{folder}-{ENOUGH_SEEDS}-seeds"]
        why = f"Make sure of it with {ENOUGH_SEEDS} seeds; what is trained already is not trained again:"
        steps.append((why, shell_line(command)))
    return steps
