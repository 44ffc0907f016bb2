"""A plan as a table for a terminal."""

from collections.abc import Iterator
from itertools import groupby

from rich.table import Table
from rich.text import Text

from ensemw2s.report.table import short, shown
from ensemw2s.results import Plan


def plan_table(plan: Plan) -> Table:
    """Upper bound on the work of each stage, with tokens, FLOPs and time of all units together."""
    table = Table(title=shown(f"{plan.name}: the work of {plan.n_seeds} seeds, at most"), title_justify="left")
    table.add_column("work", overflow="fold")
    for column in ("model", "pieces", "tokens", "FLOPs", "time"):
        table.add_column(column, justify="right", no_wrap=True)
    for stage, lines in groupby(plan.lines, key=lambda line: line.stage):
        table.add_section()
        table.add_row(Text(stage, style="dim"))
        for line in lines:
            work = (short(line.count * line.tokens), short(line.count * line.flops)) if line.tokens else ("", "")
            role = "" if line.role == "both" else line.role
            cells = (line.what, role, str(line.count), *work, duration(line.seconds))
            table.add_row(*map(shown, cells))
    table.add_section()
    cells = ("all, with loading", "", "", short(plan.tokens), short(plan.flops), duration(plan.seconds))
    table.add_row(*map(shown, cells), style="bold")
    return table


def plan_facts(plan: Plan) -> Iterator[tuple[str, str]]:
    """Further facts of a plan, as names and texts."""
    yield "rows", ", ".join(f"{name} {n}" for name, n in plan.rows_per_seed.items()) + " per seed"
    yield "evaluations", f"{short(plan.expert_evaluations)} by experts, each of which is evaluated once"
    yield "memory", f"about {gib(plan.peak_memory)} on {plan.device}"
    yield "disk", f"{gib(plan.disk)} in the store, less what is there already"
    for note in plan.notes:
        yield "note", note


def gib(n_bytes: int) -> str:
    """Bytes as "1.4 GiB" or "35 MiB"."""
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.0f} MiB"


def duration(seconds: float | None) -> str:
    """Seconds as "40 s", "12 min" or "3.4 h"."""
    if seconds is None:
        return "-"
    if seconds < 100:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"
