"""Commands before an experiment (your data and models) and after it (answers and labels)."""

import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ensemw2s.cli.common import (
    AddressOption,
    ColumnsOption,
    Engine,
    EngineOption,
    FeaturesOption,
    IdOption,
    JsonOption,
    TrustOption,
    WorkersOption,
    app,
    check_engine,
    columns_of,
    err,
    out,
    warn,
    warn_of_rare,
    write_json,
)
from ensemw2s.errors import ConfigError
from ensemw2s.meter import metered
from ensemw2s.screen import say
from ensemw2s.stopping import stops_cleanly
from ensemw2s.text import shell_line, visible


class Layout(StrEnum):
    """Rows of a file of labels."""

    table = "table"
    dataset = "dataset"
    trl = "trl"


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
    from ensemw2s.services.onboarding.own_data import Wishes, write_config

    def ask(question: str, proposal: str | None) -> str:
        shown = visible(question) + (f" [{visible(proposal)}]" if proposal else "")
        return typer.prompt(shown, default=proposal, show_default=False, err=True)

    def tell(refusal: str) -> None:
        say(err, refusal, label="refused:", style="yellow")

    asks = sys.stdin.isatty() and not yes
    wishes = Wishes(labelled, unlabelled, test, prompt, answer, weak, strong)
    written = write_config(wishes, output, ask=ask if asks else None, tell=tell, accept=yes, force=force)
    warn(written.notes)
    if written.split is not None and not written.config.is_generation:
        warn_of_rare(written.split.easy_counts)
    command = shell_line(["ensemw2s", "run", str(output)])
    say(out, f"{output} is written and valid. Look it over, then: {command}")


@app.command(epilog="Example:  ensemw2s fetch smollm2-135m")
def fetch(
    name: Annotated[str, typer.Argument(help="A known model, or `sentiment`: the data of that task.")] = "smollm2-135m",
) -> None:
    """Get a known model or data set once, into the per-user cache."""

    def echo(text: str) -> None:
        say(err, text)

    if name == "sentiment":
        from ensemw2s.data.vader import fetch_ratings

        folder = fetch_ratings(echo=echo)
    else:
        from ensemw2s.models.loading.fetch import fetch as fetch_model

        folder = fetch_model(name, echo=echo)
    say(out, str(folder))


@app.command(epilog="Example:  ensemw2s predict runs/geo-facts/student --input questions.jsonl --output answers.jsonl")
def predict(
    student: Annotated[Path, typer.Argument(help="A run, the folder of its student, or OWNER/NAME on the hub.")],
    input_path: Annotated[str, typer.Option("--input", help="JSON, CSV, Parquet, a datasets folder or hub:NAME.")],
    output: Annotated[
        Path | None,
        typer.Option(
            help="File to write: .csv, .jsonl or .parquet.  [default: JSONL on standard output]", show_default=False
        ),
    ] = None,
    columns: ColumnsOption = None,
    id_column: IdOption = None,
    prompt: Annotated[
        str | None, typer.Option(help="Jinja template over columns.  [default: the run's own]", show_default=False)
    ] = None,
    split: Annotated[str, typer.Option(help="Of a datasets folder or a hub name that has several.")] = "train",
    features: FeaturesOption = None,
    trusted: TrustOption = None,
) -> None:
    """Answer each row of a file with a trained student."""
    from ensemw2s.data.answer_table import check_columns, check_table, inputs_among, write_table

    if output is not None:
        check_table(output)
    wanted = columns_of(columns)
    from ensemw2s.data.templates.prompts import prompts_of
    from ensemw2s.export.place import exported_folder
    from ensemw2s.export.student import answer_rows, saved_prompting

    place, trusted = exported_folder(student, trusted)
    folder = place / "student" if (place / "student").is_dir() else place
    asked = prompts_of(
        input_path,
        prompt or saved_prompting(folder).template,
        id_column=id_column,
        columns=None if wanted is None else inputs_among(wanted),
        split=split,
    )
    check_columns(wanted or (), [row.columns for row in asked], input_path)
    with stops_cleanly(), metered(err, "predict"):
        answers, errors = answer_rows(
            folder, asked, id_column=id_column, wanted=wanted, trusted=trusted, features=features
        )
    if output is None:
        for answer in answers:
            write_json(answer)
    else:
        write_table(output, lambda: answers)
        say(err, f"{len(answers):,} answers in {output}")
    if errors:
        warn([f"{len(errors):,} of {len(answers):,} rows have no answer but an `error`, the first: {errors[0]}"])


@app.command(epilog="Example:  ensemw2s label --ensemble runs/geo-facts --input questions.jsonl --output labels")
def label(
    ensemble: Annotated[Path, typer.Option(help="A run, the folder of its ensemble, or OWNER/NAME on the hub.")],
    input_path: Annotated[str, typer.Option("--input", help="JSON, CSV or Parquet, of any length.")],
    output: Annotated[
        Path,
        typer.Option(
            help="Folder of the labels, or one file: .csv, .jsonl or .parquet. What was begun before is gone on with."
        ),
    ],
    columns: ColumnsOption = None,
    layout: Annotated[
        Layout,
        typer.Option("--format", help="A table, a folder for `datasets`, or prompts and completions for TRL."),
    ] = Layout.table,
    id_column: IdOption = None,
    prompt: Annotated[
        str | None, typer.Option(help="Jinja template over columns.  [default: the run's own]", show_default=False)
    ] = None,
    shard_rows: Annotated[int, typer.Option(help="Rows to a file of labels; what a crash can cost.")] = 1024,
    batch_tokens: Annotated[int, typer.Option(help="Tokens that the models read at once.")] = 4096,
    engine: EngineOption = Engine.local,
    workers: WorkersOption = 1,
    address: AddressOption = None,
    features: FeaturesOption = None,
    trusted: TrustOption = None,
    as_json: JsonOption = False,
) -> None:
    """Label each row of a file with a trained ensemble, or finish an interrupted labelling."""
    from ensemw2s.data.answer_table import write_table
    from ensemw2s.prompting import Prompting
    from ensemw2s.services.labelling.label_file import check_request, label_file
    from ensemw2s.services.labelling.table import labelled_rows, parts_of, shards_of, write_labels

    # Before models are loaded.
    folder = shards_of(output) if layout is Layout.table else parts_of(output)
    check_request(input_path, prompt or Prompting.template, id_column, shard_rows, batch_tokens)
    wanted = columns_of(columns)
    from ensemw2s.services.labelling.dataset import check_dataset, write_dataset
    from ensemw2s.services.labelling.trl import COLUMNS, check_trl, is_chat, trl_row

    if layout is Layout.dataset:
        check_dataset(output)
    if layout is Layout.trl:
        check_trl(output, wanted)
        wanted = list(COLUMNS)
    from ensemw2s.export.ensembles.ensemble_folder import read_ensemble_record
    from ensemw2s.export.ensembles.labeller import open_labeller
    from ensemw2s.export.place import exported_folder

    check_engine(engine, workers, address)
    if features is not None and engine is Engine.ray:
        raise ConfigError("--features: vectors are read by one process; leave --engine ray out")
    ensemble, _ = exported_folder(ensemble)
    record = read_ensemble_record(ensemble)
    settings: dict[str, Any] = {
        "prompt": prompt or record.prompt,
        "id_column": id_column,
        "wanted": wanted,
        "shard_rows": shard_rows,
        "batch_tokens": batch_tokens,
        "console": None if as_json else err,
    }
    with stops_cleanly(str(folder)):
        if engine is Engine.local:
            counts = label_file(
                open_labeller(ensemble, trusted=trusted, features=features), input_path, folder, **settings
            )
        else:
            from ensemw2s.distributed.cluster import connected
            from ensemw2s.export.ensembles.labeller import open_reader
            from ensemw2s.services.labelling.ray_engine import RayEngine

            reader = open_reader(ensemble, trusted=trusted)
            with connected(workers, address) as ray:
                many = RayEngine(ray, ensemble, workers, trusted=trusted)
                counts = label_file(reader, input_path, folder, engine=many, **settings)
        if layout is Layout.dataset:
            made = counts.labelled, counts.failed
            write_dataset(output, lambda: labelled_rows(folder, counts.shards), record, *made)
        elif layout is Layout.trl:
            chat = is_chat(ensemble, record)
            write_table(output, lambda: (trl_row(row, chat=chat) for row in labelled_rows(folder, counts.shards)))
        elif folder != output:
            write_labels(output, counts.shards, shard_rows)
    if as_json:
        write_json(asdict(counts) | {"output": str(output)})
        return
    where = output if folder != output else f"{output}/labels-*.jsonl"
    say(out, f"{counts.labelled:,} of {counts.rows:,} rows labelled: {where}")
    if counts.failed:
        is_table = folder != output and layout is Layout.table
        where = "in the column `error`" if is_table else f"{folder}/errors-*.jsonl"
        say(out, f"{counts.failed:,} rows could not be, with reasons: {where}")
