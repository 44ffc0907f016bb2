"""The leaderboard as an HTML page, as Markdown and as a table for a terminal."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt
from rich import box
from rich.table import Table

from ensemw2s.names import SINGLE
from ensemw2s.report.charts import PALETTE, Spec
from ensemw2s.report.page import page
from ensemw2s.report.scale import Scale
from ensemw2s.report.table import percent, points, short, shown
from ensemw2s.results import Interval
from ensemw2s.results.leaderboard import Leaderboard, LeaderboardCell, LeaderboardLine, LeaderboardTask
from ensemw2s.storage.files import write_atomic
from ensemw2s.text import markdown as as_markdown

N_NAMED = 6
"""Number of best methods that are named in the scatter plot; more names would overlap."""
REFERENCES = {
    "zero_shot": "strong model, zero-shot",
    SINGLE: "student of one weak expert",
    "strong_on_easy": "strong model on easy labels",
    "ceiling": "ceiling",
}


def terminal_table(leaderboard: Leaderboard) -> Table:
    """Methods by mean gain. The page and the Markdown also show each task."""
    table = Table(
        title="Points above the student of one weak expert, and above strong-on-easy:\nmeans over tasks, 95% intervals",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("method", overflow="fold")
    for name in ("tasks", "gain", "minus on-easy", "rank"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in leaderboard.lines:
        cells = (_name(line), str(line.n_tasks), points(line.gain), points(line.distance), f"{line.rank:.1f}")
        table.add_row(*map(shown, cells), style="bold green" if line.method == "auto" else "")
    return table


def markdown(leaderboard: Leaderboard) -> str:
    """The leaderboard without the scatter plot, for a README or a page of documentation."""
    forms = list(dict.fromkeys(form for line in leaderboard.lines for form in line.gain_by_form))
    split = forms if len(forms) > 1 else []
    head = [
        "method",
        "whose labels, and how",
        "tasks",
        "gain",
        *split,
        "minus strong-on-easy",
        "rank",
        "won : lost",
        "FLOPs",
    ]
    rows = [
        [
            _name(line),
            f"{line.teacher}, {line.recipe}" if line.recipe else "",
            str(line.n_tasks),
            points(line.gain),
            *(points(line.gain_by_form[form]) if form in line.gain_by_form else "" for form in split),
            points(line.distance),
            f"{line.rank:.1f}",
            f"{line.wins} : {line.losses}",
            short(line.flops),
        ]
        for line in leaderboard.lines
    ]
    parts = [_table(head, rows)]
    for task in leaderboard.tasks:
        known = "; ".join(f"{REFERENCES[name]} {percent(value)}" for name, value in task.references.items())
        known = f"{facts(task)}. {known[0].upper()}{known[1:]}."
        parts.append(f"### {as_markdown(task.name)}\n\n{as_markdown(known)}\n")
        head = ["method", task.metric, "gain", "minus strong-on-easy", "PGR", "rank", "won : lost", "FLOPs"]
        parts.append(_table(head, [_cells(cell) for cell in ranked(leaderboard, task)]))
    return "\n".join([*parts, *(f"- {as_markdown(sentence)}" for sentence in sentences(leaderboard))]) + "\n"


def write_page(leaderboard: Leaderboard, path: Path) -> None:
    """Write leaderboard.html whole or not at all; the page loads nothing from outside."""
    scale = Scale.of([line.gain for line in leaderboard.lines])
    text = page(
        "leaderboard.html.j2",
        {name: chart.to_dict() for name, chart in {"all": _scatter(leaderboard.lines)}.items()}
        | {f"task/{t.name}": _forest(ranked(leaderboard, t)).to_dict() for t in leaderboard.tasks},
        leaderboard=leaderboard,
        forms=list(dict.fromkeys(form for line in leaderboard.lines for form in line.gain_by_form)),
        name=_name,
        ranked=ranked,
        facts=facts,
        sentences=sentences(leaderboard),
        references=REFERENCES,
        scale=scale,
        pgr=_pgr,
        p=_p,
        percent=percent,
        points=points,
        short=short,
    )
    write_atomic(path, text)


def ranked(leaderboard: Leaderboard, task: LeaderboardTask) -> list[LeaderboardCell]:
    """The task's methods, best rank first."""
    return sorted((c for c in leaderboard.cells if c.task == task.name), key=lambda c: c.rank.mean)


def facts(task: LeaderboardTask) -> str:
    """Form, seeds, test items and models of a task, in one line."""
    seeds = f"seed {task.seeds[0]}" if len(task.seeds) == 1 else f"seeds {task.seeds[0]} to {task.seeds[-1]}"
    form = "answered by generation" if task.is_words else "answered by a class"
    return f"{form.capitalize()}; {seeds}, {task.n_items} test items. Weak: {task.weak}. Strong: {task.strong}"


def sentences(leaderboard: Leaderboard) -> list[str]:
    """Notes below the table: what its columns mean, what it cost, and what is missing."""
    work = leaderboard.work
    notes = [
        "Gain: points above the student of one weak expert's labels. Intervals of a task cross its seeds with its test "
        "items; those of a mean add up in quadrature, for the tasks are these and no sample of others.",
        "Rank: 1 is best, among the methods of a task. Won : lost counts the methods that a method beats, and that "
        "beat it, in the paired test, at a false discovery rate of 5% among all pairs of a task (Benjamini and "
        "Hochberg). p, beside the distance to strong-on-easy, is Holm's for the methods of a task.",
        "Methods marked with an asterisk need no weak supervision.",
        f"{work.experts:,} experts were trained where {work.experts_alone:,} would have been, had each method been run "
        f"by itself, and {work.evaluations:,} evaluations of an expert on an example done where "
        f"{work.evaluations_alone:,} would have been. The units of work took {work.seconds / 60:.0f} minutes.",
    ]
    if leaderboard.missing:
        notes.append(
            f"Left undone for want of time: {'; '.join(leaderboard.missing)}. The same command goes on with them."
        )
    return notes + list(leaderboard.notes)


def _cells(cell: LeaderboardCell) -> list[str]:
    return [
        cell.method,
        percent(cell.accuracy),
        points(cell.gain),
        points(cell.distance) + (f" (p {_p(cell.distance_p)})" if cell.distance_p is not None else ""),
        _pgr(cell.pgr),
        f"{cell.rank.mean:.0f} [{cell.rank.low:.0f}, {cell.rank.high:.0f}]",
        f"{cell.wins} : {cell.losses}",
        short(cell.cost.flops),
    ]


def _name(line: LeaderboardLine) -> str:
    return line.method + ("*" if line.is_baseline else "")


def _pgr(value: Interval | None) -> str:
    return "undefined" if value is None else f"{value.mean:.2f} [{value.low:.2f}, {value.high:.2f}]"


def _p(value: float | None) -> str:
    return "" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(as_markdown, line)) + " |" for line in lines) + "\n"


def _scatter(lines: Sequence[LeaderboardLine]) -> Any:
    """Scatter plot of gain against cost."""
    groups = list(dict.fromkeys(line.group for line in lines))
    named = [*lines[:N_NAMED], *(line for line in lines if line.method in ("auto", SINGLE))]
    rows: list[Spec] = [
        {
            "method": _name(line),
            "shown": _name(line) if line in named else "",
            "group": line.group,
            "FLOPs": line.flops,
            "gain": line.gain.mean,
            "low": line.gain.low,
            "high": line.gain.high,
        }
        for line in lines
    ]
    legend = alt.Legend(title=None, orient="bottom", symbolOpacity=1)
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X(
            "FLOPs:Q", scale=alt.Scale(type="log", nice=False, padding=20), axis=alt.Axis(format="~s", tickCount=5)
        ),
        color=alt.Color("group:N", sort=groups, scale=alt.Scale(range=PALETTE), legend=legend),
        tooltip=["method:N", "group:N", alt.Tooltip("gain:Q", format="+.1%"), alt.Tooltip("FLOPs:Q", format=".3s")],
    )
    axis = alt.Axis(format="+.0%", title="gain over the single expert's student")
    return (
        base.mark_rule(opacity=0.35).encode(y=alt.Y("low:Q", axis=axis), y2="high:Q")
        + base.mark_circle(size=60, opacity=0.9).encode(y="gain:Q")
        + base.mark_text(align="left", dx=6, dy=-4, fontSize=10).encode(
            y="gain:Q", text="shown:N", color=alt.value("var(--ink)")
        )
    ).properties(width="container", height=420)


def _forest(cells: Sequence[LeaderboardCell]) -> Any:
    """Forest plot of a task's methods by their distance to strong-on-easy."""
    rows: list[Spec] = [
        {"method": c.method, "points": c.distance.mean, "low": c.distance.low, "high": c.distance.high} for c in cells
    ]
    y = alt.Y("method:N", sort=None, title=None, axis=alt.Axis(labelLimit=170))
    axis = alt.Axis(format="+.0%", title="minus strong-on-easy")
    base = alt.Chart(alt.Data(values=rows)).encode(y=y)
    zero = alt.Chart(alt.Data(values=[{"zero": 0.0}])).mark_rule(strokeDash=[4, 3]).encode(x="zero:Q")
    return (
        zero
        + base.mark_rule(color=PALETTE[0]).encode(x=alt.X("low:Q", axis=axis), x2="high:Q")
        + base.mark_circle(size=40, opacity=1, color=PALETTE[0]).encode(x="points:Q")
    ).properties(width="container", height=alt.Step(15))
