"""Commands that run, check and plan experiments."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ensemw2s.cli.common import (
    AddressOption,
    ConfigArgument,
    Engine,
    EngineOption,
    JsonOption,
    SetOption,
    TinyOption,
    WorkersOption,
    app,
    check_engine,
    err,
    is_main,
    out,
    settings_of,
    warn,
    warn_of_rare,
    write_json,
)
from ensemw2s.meter import metered
from ensemw2s.screen import say
from ensemw2s.stopping import stops_cleanly

if TYPE_CHECKING:
    from ensemw2s.config import ExperimentConfig
    from ensemw2s.pipeline.listener import Listener


@app.command(epilog="Example:  ensemw2s run my.yaml --set seeds=[3] --set ensemble.n_rounds=8")
def run(
    config: ConfigArgument = None,
    overrides: SetOption = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="The run folder.  [default: runs/NAME]", show_default=False)
    ] = None,
    tracking: Annotated[
        str | None,
        typer.Option(
            help="Log to trackio, wandb, mlflow or tensorboard while it runs, whatever the file says; or none.",
            show_default=False,
        ),
    ] = None,
    use_tiny: TinyOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run the whole experiment, or finish an interrupted one."""
    chosen = [] if tracking is None else [f"tracking={tracking}"]
    settings = settings_of(config, [*(overrides or ()), *chosen], use_tiny=use_tiny)
    folder = run_dir or Path("runs") / settings.name
    listener = _listener(settings, folder) if is_main() else None
    from ensemw2s.pipeline.run import run as run_experiment

    with stops_cleanly(f"{folder} and the store"):
        results = run_experiment(settings, folder, console=None if as_json else err, listener=listener)
    if not is_main():
        return
    if as_json:
        write_json(results)
        return
    from ensemw2s.report.table import terminal_table

    out.print(terminal_table(results))
    say(out, results.recommendation.headline)
    out.print()
    say(out, f"Report: {folder / 'report.html'}")
    say(out, f"Student: {folder / 'student'}")


@app.command(epilog="Example:  ensemw2s report runs/geo-facts --export svg,csv")
def report(
    run_dir: Annotated[Path, typer.Argument(help="A finished run.")],
    export: Annotated[
        str | None,
        typer.Option(
            help="Write figures and tables to RUN_DIR/export too: some of svg, png, pdf, csv, tex.",
            metavar="FORMATS",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write report.html of a finished run anew, and print its table."""
    from ensemw2s.pipeline.run_folder import EXPORT, REPORT, read_results, read_timing, seal_again, write
    from ensemw2s.report.export import exported, parse_formats
    from ensemw2s.report.page import write_report
    from ensemw2s.report.table import terminal_table

    formats = [] if export is None else parse_formats(export)
    results, timing = read_results(run_dir), read_timing(run_dir)
    write_report(results, timing, run_dir / REPORT)
    seal_again(run_dir, REPORT)
    for name, content in exported(results, timing, formats):
        write(run_dir, f"{EXPORT}/{name}", content)
    if as_json:
        write_json(results)
        return
    out.print(terminal_table(results))
    say(out, f"Report: {run_dir / 'report.html'}")
    if formats:
        say(out, f"Figures and tables: {run_dir / EXPORT}")


@app.command(epilog="Example:  ensemw2s validate my.yaml --set task.path=questions.jsonl")
def validate(
    config: ConfigArgument = None,
    overrides: SetOption = None,
    no_data: Annotated[bool, typer.Option("--no-data", help="Leave the data out.")] = False,
    no_models: Annotated[bool, typer.Option("--no-models", help="Leave the models out.")] = False,
    use_tiny: TinyOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check a configuration, its data and its models, and warn of what would say little; fetch and train nothing."""
    from ensemw2s.hashing import canonical_hash
    from ensemw2s.services.onboarding.advice import advice
    from ensemw2s.services.tracking.trackers import check_installed

    settings = settings_of(config, overrides, use_tiny=use_tiny)
    facts: dict[str, object] = {"name": settings.name, "config_hash": canonical_hash(settings)}
    layers: Mapping[str, int] = {}
    if not no_models:
        from ensemw2s.services.onboarding.models import find_models

        found = find_models(settings)
        warn(found.notes)
        facts |= {f"{setting}.model": phrase for setting, phrase in found.described.items()}
        layers = found.layers
    if not no_data:
        from ensemw2s.pipeline.prepare import check

        task, split = check(settings)
        warn(task.notes)
        facts |= {"task": task.name, "examples": len(task.examples)}
        # A generation task may have thousands of distinct answers.
        is_free = task.answer_form == "free"
        facts |= {"distinct_answers": len(task.choices)} if is_free else {"choices": list(task.choices)}
        if not no_models:
            from ensemw2s.services.onboarding.lengths import check_lengths

            lengths, notes = check_lengths(settings, task, split)
            warn(notes)
            facts |= lengths
        facts["pools"] = None if split is None else {name: len(rows) for name, rows in split.pools.items()}
        if split is not None and not is_free:
            facts["easy_counts"] = split.easy_counts
            warn_of_rare(split.easy_counts)
    if settings.tracking != "none":
        check_installed(settings.tracking, "tracking")
    warn(advice(settings, layers))
    if as_json:
        write_json(facts)
        return
    for name, value in facts.items():
        say(out, f"{name:16} {value}")
    say(out, "valid")


@app.command(epilog="Example:  ensemw2s plan my.yaml --set ensemble.n_rounds=8")
def plan(
    config: ConfigArgument = None,
    overrides: SetOption = None,
    calibrate: Annotated[
        bool, typer.Option(help="Time a little of each kind of work, about ten seconds in all.")
    ] = True,
    use_tiny: TinyOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say what a run will cost, before it starts: rows, tokens, FLOPs, memory, disk and time."""
    settings = settings_of(config, overrides, use_tiny=use_tiny)
    from ensemw2s.services.planning.plan import make_plan

    with metered(None if as_json else err, "plan"):
        made = make_plan(settings, calibrated=calibrate)
    if as_json:
        write_json(made)
        return
    from ensemw2s.report.plan import plan_facts, plan_table

    out.print(plan_table(made))
    for name, value in plan_facts(made):
        say(out, f"{name:12} {value}")


@app.command(
    epilog="Example:  ensemw2s sweep my.yaml --over seeds=0,1,2 --over weak.n_layers=8,12 --output sweeps/depth"
)
def sweep(
    over: Annotated[list[str], typer.Option(metavar="A.B=V1,V2", help="A setting and its values; may be repeated.")],
    output: Annotated[Path, typer.Option(help="Folder of the runs' folders; one begun before is gone on with.")],
    config: ConfigArgument = None,
    overrides: SetOption = None,
    engine: EngineOption = Engine.local,
    workers: WorkersOption = 1,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run every combination of some settings' values, each in a folder of its own, or finish what is missing."""
    from ensemw2s.services.sweeps.sweep import combinations, run_here
    from ensemw2s.services.sweeps.sweep import sweep as finish

    check_engine(engine, workers, address)
    jobs = combinations(config, overrides or (), over, output)
    for settings, folder in jobs:
        _listener(settings, folder)  # a tracker that is not installed is refused before the first of them
    console = None if as_json else err
    with stops_cleanly(f"{output} and the store"):
        if engine is Engine.local:
            runs = finish(jobs, lambda todo: run_here(todo, _listener), console)
        else:
            from ensemw2s.distributed.cluster import connected
            from ensemw2s.services.sweeps.ray_runs import run_each

            with connected(workers, address) as ray:
                runs = finish(jobs, lambda todo: run_each(ray, todo, workers, _listener), console)
    failed = [one for one in runs if one.state == "failed"]
    if as_json:
        lines = [{"folder": str(one.folder), "state": one.state, "reason": one.reason} for one in runs]
        write_json({"runs": lines})
    elif len(runs) - len(failed) > 1:
        say(out, f"Side by side:  ensemw2s compare {output}/*")
    if failed:
        message = "mend them and run the same command again"
        say(err, message, label=f"{len(failed)} of {len(runs)} runs failed;", style="red")
        raise typer.Exit(1)


def _listener(settings: "ExperimentConfig", folder: Path) -> "Listener":
    """Who logs a run while it goes on. Raises ConfigError."""
    from ensemw2s.services.tracking.live import listener_of

    return listener_of(settings, folder, lambda message: warn([message]))
