"""The command that compares methods and runs."""

from pathlib import Path
from typing import Annotated

import typer

from ensemw2s.cli.common import JsonOption, SetOption, TinyOption, app, err, out, warn, write_json
from ensemw2s.errors import ConfigError
from ensemw2s.screen import say
from ensemw2s.stopping import stops_cleanly


@app.command(
    epilog="Examples:  ensemw2s compare runs/*   |   ensemw2s compare --methods all --tasks a.yaml,b.yaml --seeds 5 "
    "--budget 2h --output boards/mine"
)
def compare(
    run_dirs: Annotated[
        list[Path] | None,
        typer.Argument(help="Two or more runs; folders without a finished one are left out.", show_default=False),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(help="Compare methods, not runs: `all`, or names with commas between.", show_default=False),
    ] = None,
    tasks: Annotated[
        str, typer.Option(help="Configuration files with commas between, or geo-facts.", metavar="A.yaml,B.yaml")
    ] = "geo-facts",
    seeds: Annotated[int, typer.Option(help="How many seeds of each task.", min=1)] = 5,
    first_seed: Annotated[int, typer.Option(help="The first of them; the others follow.", min=0)] = 0,
    budget: Annotated[
        str | None, typer.Option(help="Begin nothing that would end later: 45m, 2h.", show_default=False)
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder of the leaderboard; one begun before is gone on with.")] = Path(
        "leaderboard"
    ),
    overrides: SetOption = None,
    use_tiny: TinyOption = False,
    as_json: JsonOption = False,
) -> None:
    """Several runs in one table, or with --methods a leaderboard of many methods on many tasks, with intervals."""
    if methods is None:
        _compare_runs(run_dirs or [], as_json)
        return
    if run_dirs:
        raise ConfigError(f"compare: --methods runs its own experiments; leave out either it or {run_dirs[0]}")
    from ensemw2s.report.leaderboard import sentences, terminal_table
    from ensemw2s.services.leaderboard.build import build_leaderboard, parse_budget, plan_leaderboard

    limit = None if budget is None else parse_budget(budget)
    wanted = [t.strip() for t in tasks.split(",") if t.strip()]
    plan = plan_leaderboard(methods, wanted, range(first_seed, first_seed + seeds), overrides or (), use_tiny=use_tiny)
    with stops_cleanly(f"{output} and the store"):
        leaderboard = build_leaderboard(plan, output, budget=limit, console=None if as_json else err)
    if as_json:
        write_json(leaderboard)
        return
    out.print(terminal_table(leaderboard))
    for sentence in sentences(leaderboard):
        say(out, sentence)
    out.print()
    say(out, f"Page: {output / 'leaderboard.html'}")
    say(out, f"Markdown: {output / 'leaderboard.md'}")


def _compare_runs(run_dirs: list[Path], as_json: bool) -> None:
    from ensemw2s.report.table import comparison_table
    from ensemw2s.services.leaderboard.compare import compare_runs

    comparison = compare_runs(run_dirs)
    warn(f"{folder}: no finished run there; left out" for folder in comparison.skipped)
    if as_json:
        write_json(comparison)
        return
    out.print(comparison_table(comparison))
