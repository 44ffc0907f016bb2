"""The command line: parse, one call, format."""

import json
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from ensemw2s.errors import EnsemW2SError

EPILOG = (
    "Exit codes: 0 done, 1 other error, 2 configuration or usage, 3 data, 4 model, 5 run folder or store, "
    "130 interrupted, 143 terminated."
)
app = typer.Typer(
    name="ensemw2s",
    help="Boost weak language models, let them label hard data, train a stronger model on those labels.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


class Engine(StrEnum):
    """Who does independent pieces of work."""

    local = "local"
    ray = "ray"


ConfigArgument = Annotated[
    Path | None,
    typer.Argument(help="YAML file; left out: the embedded default (geo-facts).", show_default=False),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Override a setting; may be repeated.", show_default=False),
]
TinyOption = Annotated[
    bool, typer.Option("--tiny", help="Random models and generated data: seconds, no network, figures mean nothing.")
]
EngineOption = Annotated[
    Engine, typer.Option(help="Who works: this process, or workers through Ray. The results are the same.")
]
WorkersOption = Annotated[int, typer.Option(help="Workers of `--engine ray`.", min=1)]
AddressOption = Annotated[
    str | None,
    typer.Option(
        help="Of a running Ray cluster (`auto`: the one of this machine).  [default: start one]", show_default=False
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document for machines.")]


@app.command(epilog="Example:  ensemw2s run my.yaml --set seeds=[3] --set ensemble.n_rounds=8")
def run(
    config: ConfigArgument = None,
    overrides: SetOption = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="The run folder.  [default: runs/NAME]", show_default=False)
    ] = None,
    use_tiny: TinyOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run the whole experiment, or finish an interrupted one."""
    from ensemw2s.config import load_config
    from ensemw2s.experiment.runner import run as run_experiment

    settings = load_config(config, overrides or ())
    if use_tiny:
        from ensemw2s.experiment.tiny import tiny

        settings = tiny(settings)
    folder = run_dir or Path("runs") / settings.name
    with _stops_cleanly(f"{folder} and the store"):
        results = run_experiment(settings, folder, console=None if as_json else err)
    if not _is_main():
        return
    if as_json:
        sys.stdout.write(results.model_dump_json() + "\n")
        return
    from ensemw2s.report.table import terminal_table

    out.print(terminal_table(results))
    out.print(results.recommendation.headline, soft_wrap=True)
    out.print(f"\nReport:  {folder / 'report.html'}\nStudent: {folder / 'student'}", soft_wrap=True)


@app.command(epilog="Example:  ensemw2s report runs/geo-facts")
def report(run_dir: Annotated[Path, typer.Argument(help="A finished run.")], as_json: JsonOption = False) -> None:
    """Write report.html of a finished run anew, and print its table."""
    from ensemw2s.experiment.runner import read_results, read_timing
    from ensemw2s.report.page import write_report
    from ensemw2s.report.table import terminal_table

    results = read_results(run_dir)
    write_report(results, read_timing(run_dir), run_dir / "report.html")
    if as_json:
        sys.stdout.write(results.model_dump_json() + "\n")
        return
    out.print(terminal_table(results))
    out.print(f"Report: {run_dir / 'report.html'}", soft_wrap=True)


@app.command(epilog="Example:  ensemw2s validate my.yaml --set task.path=questions.jsonl")
def validate(
    config: ConfigArgument = None,
    overrides: SetOption = None,
    no_data: Annotated[bool, typer.Option("--no-data", help="Check the configuration alone.")] = False,
    use_tiny: TinyOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check a configuration and its data without working."""
    from ensemw2s.config import canonical_hash, load_config

    settings = load_config(config, overrides or ())
    if use_tiny:
        from ensemw2s.experiment.tiny import tiny

        settings = tiny(settings)
    facts: dict[str, object] = {"name": settings.name, "config_hash": canonical_hash(settings)}
    if not no_data:
        from ensemw2s.experiment.prepare import check

        task, split = check(settings)
        facts |= {"task": task.name, "examples": len(task.examples)}
        # The answers in words may be thousands.
        is_free = task.answer_form == "free"
        facts |= {"distinct_answers": len(task.choices)} if is_free else {"choices": list(task.choices)}
        facts["pools"] = None if split is None else {name: len(rows) for name, rows in split.pools.items()}
        if split is not None and not is_free:
            facts["easy_counts"] = split.easy_counts
            _warn_of_rare(split.easy_counts)
    if as_json:
        sys.stdout.write(json.dumps(facts) + "\n")
        return
    for name, value in facts.items():
        out.print(f"{name:12} {value}", soft_wrap=True, markup=False)
    out.print("valid")


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
    from ensemw2s.config import load_config
    from ensemw2s.experiment.planning.plan import make_plan

    settings = load_config(config, overrides or ())
    if use_tiny:
        from ensemw2s.experiment.tiny import tiny

        settings = tiny(settings)
    found = make_plan(settings, calibrated=calibrate)
    if as_json:
        sys.stdout.write(found.model_dump_json() + "\n")
        return
    from ensemw2s.report.plan import plan_facts, plan_table

    out.print(plan_table(found))
    for name, value in plan_facts(found):
        out.print(f"{name:12} {value}", soft_wrap=True, markup=False)


@app.command(epilog="Example:  ensemw2s init --labelled easy.jsonl --unlabelled hard.jsonl --output my.yaml")
def init(
    output: Annotated[Path, typer.Option(help="The configuration to write.")],
    labelled: Annotated[str | None, typer.Option(help="Easy questions with answers.", show_default=False)] = None,
    unlabelled: Annotated[str | None, typer.Option(help="Harder ones without.", show_default=False)] = None,
    test: Annotated[str | None, typer.Option(help="Harder ones with answers.", show_default=False)] = None,
    prompt: Annotated[str | None, typer.Option(help="Jinja template over columns.", show_default=False)] = None,
    answer: Annotated[str | None, typer.Option(help="Column of the answer.", show_default=False)] = None,
    weak: Annotated[str | None, typer.Option(help="Hub id, folder or known model.", show_default=False)] = None,
    strong: Annotated[str | None, typer.Option(help="Hub id, folder or known model.", show_default=False)] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing, take what the columns suggest.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a configuration that is there.")] = False,
) -> None:
    """Write a configuration for your own data, asking for what is not given."""
    from ensemw2s.experiment.own_data import Wishes, write_config

    def ask(question: str, proposal: str | None) -> str:
        return typer.prompt(question, default=proposal, err=True)

    asks = sys.stdin.isatty() and not yes
    wishes = Wishes(labelled, unlabelled, test, prompt, answer, weak, strong)
    settings, split = write_config(wishes, output, ask=ask if asks else None, accept=yes, force=force)
    if split is not None and not settings.is_generation:
        _warn_of_rare(split.easy_counts)
    command = shlex.join(["ensemw2s", "run", str(output)])
    out.print(f"{output} is written and valid. Look it over, then: {command}", soft_wrap=True, markup=False)


@app.command(epilog="Example:  ensemw2s fetch smollm2-135m")
def fetch(name: Annotated[str, typer.Argument(help="A known model.")] = "smollm2-135m") -> None:
    """Get a known model once, into the per-user cache."""
    from ensemw2s.models.fetch import fetch as fetch_model

    out.print(str(fetch_model(name, echo=lambda text: err.print(text, soft_wrap=True))), soft_wrap=True)


@app.command(epilog="Example:  ensemw2s predict runs/geo-facts/student --input questions.jsonl --output answers.jsonl")
def predict(
    student: Annotated[Path, typer.Argument(help="A student folder, or a run folder that has one.")],
    input_path: Annotated[str, typer.Option("--input", help="JSONL, CSV, Parquet, a datasets folder or hub:NAME.")],
    output: Annotated[
        Path | None, typer.Option(help="JSONL file; left out: standard output.", show_default=False)
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="Jinja template over columns.  [default: the run's own]", show_default=False)
    ] = None,
    split: Annotated[str, typer.Option(help="Of a datasets folder or a hub name that has several.")] = "train",
) -> None:
    """Answer each row of a file with a trained student."""
    from ensemw2s.data.files import prompts_of
    from ensemw2s.data.load import read_rows
    from ensemw2s.experiment.files import write_atomic
    from ensemw2s.experiment.student import answer_prompts
    from ensemw2s.prompting import Prompting

    folder = student / "student" if (student / "student").is_dir() else student
    prompts = prompts_of(read_rows(input_path, split=split), prompt or Prompting.load(folder).template)
    lines = [json.dumps(found, ensure_ascii=False) for found in answer_prompts(folder, prompts)]
    text = "\n".join(lines) + "\n"
    if output is None:
        sys.stdout.write(text)
    else:
        write_atomic(output, text)
        err.print(f"{len(lines)} answers in {output}", soft_wrap=True)


@app.command(epilog="Example:  ensemw2s label --ensemble runs/geo-facts --input questions.jsonl --output labels")
def label(
    ensemble: Annotated[Path, typer.Option(help="A run folder, or the folder of a saved ensemble.")],
    input_path: Annotated[str, typer.Option("--input", help="JSONL, CSV or Parquet, of any length.")],
    output: Annotated[Path, typer.Option(help="Folder of the labels; one begun before is gone on with.")],
    prompt: Annotated[
        str | None, typer.Option(help="Jinja template over columns.  [default: the run's own]", show_default=False)
    ] = None,
    id_column: Annotated[
        str | None, typer.Option("--id", help="Column of unique names.  [default: row-1, ...]", show_default=False)
    ] = None,
    shard_rows: Annotated[int, typer.Option(help="Rows to a file of labels; what a crash can cost.")] = 1024,
    batch_tokens: Annotated[int, typer.Option(help="Tokens that the models read at once.")] = 4096,
    engine: EngineOption = Engine.local,
    workers: WorkersOption = 1,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Label each row of a file with a trained ensemble, or finish an interrupted labelling."""
    from ensemw2s.experiment.labelling import check_request, label_file
    from ensemw2s.prompting import Prompting

    # Before models are loaded.
    check_request(input_path, prompt or Prompting.template, id_column, shard_rows, batch_tokens)
    from ensemw2s.experiment.labeller import open_labeller, saved_template

    _check_engine(engine, workers, address)
    settings: dict[str, Any] = {
        "prompt": prompt or saved_template(ensemble),
        "id_column": id_column,
        "shard_rows": shard_rows,
        "batch_tokens": batch_tokens,
        "console": None if as_json else err,
    }
    with _stops_cleanly(str(output)):
        if engine is Engine.local:
            counts = label_file(open_labeller(ensemble), input_path, output, **settings)
        else:
            from ensemw2s.experiment.cluster import RayEngine, connected
            from ensemw2s.experiment.labeller import open_reader

            reader = open_reader(ensemble)
            with connected(workers, address) as ray:
                many = RayEngine(ray, ensemble, workers)
                counts = label_file(reader, input_path, output, engine=many, **settings)
    if as_json:
        sys.stdout.write(json.dumps(asdict(counts) | {"output": str(output)}) + "\n")
        return
    out.print(f"{counts.labelled:,} of {counts.rows:,} rows labelled: {output}/labels-*.jsonl", soft_wrap=True)
    if counts.failed:
        out.print(f"{counts.failed:,} rows could not be, with reasons: {output}/errors-*.jsonl", soft_wrap=True)


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
    from ensemw2s.experiment.sweep import combinations, run_here
    from ensemw2s.experiment.sweep import sweep as finish

    _check_engine(engine, workers, address)
    jobs = combinations(config, overrides or (), over, output)
    console = None if as_json else err
    with _stops_cleanly(f"{output} and the store"):
        if engine is Engine.local:
            found = finish(jobs, run_here, console)
        else:
            from ensemw2s.experiment.cluster import connected, run_each

            with connected(workers, address) as ray:
                found = finish(jobs, lambda todo: run_each(ray, todo, workers), console)
    failed = [each for each in found if each.state == "failed"]
    if as_json:
        lines = [{"folder": str(each.folder), "state": each.state, "reason": each.reason} for each in found]
        sys.stdout.write(json.dumps({"runs": lines}) + "\n")
    elif len(found) - len(failed) > 1:
        out.print(f"Side by side:  ensemw2s compare {output}/*", soft_wrap=True)
    if failed:
        err.print(f"[red]{len(failed)} of {len(found)} runs failed;[/] mend them and run the same command again")
        raise typer.Exit(1)


def _check_engine(engine: Engine, workers: int, address: str | None) -> None:
    from ensemw2s.errors import ConfigError

    if engine is Engine.local and (workers > 1 or address):
        raise ConfigError("--workers and --address are of --engine ray; add it, or leave them out")


@app.command(epilog="Example:  ensemw2s compare runs/*")
def compare(
    run_dirs: Annotated[list[Path], typer.Argument(help="Two or more finished runs.")],
    as_json: JsonOption = False,
) -> None:
    """Several runs in one table: each run's main rows, and paired differences where they share seeds and split."""
    from ensemw2s.experiment.compare import compare_runs
    from ensemw2s.report.table import comparison_table

    found = compare_runs(run_dirs)
    if as_json:
        sys.stdout.write(found.model_dump_json() + "\n")
        return
    out.print(comparison_table(found))


def _warn_of_rare(counts: dict[str, int]) -> None:
    from ensemw2s.data.balance import rare_classes

    for sentence in rare_classes(counts):
        err.print(f"[yellow]warning:[/] {escape(sentence)}", soft_wrap=True)


@contextmanager
def _stops_cleanly(where: str) -> Iterator[None]:
    """Turn SIGINT and SIGTERM into one line that says how to go on."""

    def terminate(signum: int, frame: FrameType | None) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except (KeyboardInterrupt, _Terminated) as stop:
        command = shlex.join(["ensemw2s", *sys.argv[1:]])
        err.print(
            f"\nStopped; everything finished is kept in {where}. Resume with: {command}",
            soft_wrap=True,
            markup=False,
        )
        raise typer.Exit(143 if isinstance(stop, _Terminated) else 130) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _is_main() -> bool:
    """Of the processes of one launch, the one that speaks."""
    return os.environ.get("RANK", "0") == "0"


class _Terminated(BaseException):
    """SIGTERM; not an Exception, so that nothing on the way swallows it."""


def main() -> None:
    """Entry point: errors of this package become one paragraph and their exit code."""
    try:
        app()
    except EnsemW2SError as error:
        if _is_main():
            err.print("[red]error:[/] ", end="")
            err.print(str(error), markup=False, soft_wrap=True)
        sys.exit(error.exit_code)
