"""The command that hands a run's pairs of answers to another trainer."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ensemw2s.cli.common import JsonOption, app, out, write_json
from ensemw2s.screen import say


@app.command(epilog="Example:  ensemw2s pairs runs/my --output pairs.jsonl")
def pairs(
    run_dir: Annotated[Path, typer.Argument(help="A finished run, of which a recipe has a second lesson (then).")],
    output: Annotated[Path, typer.Option(help="File to write, .jsonl.", show_default=False)],
    row: Annotated[
        str | None,
        typer.Option(help="Key of a row.  [default: the recommended one, or the first]", show_default=False),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Whose pairs.  [default: the exported student's]", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the pairs of better and worse answers of a run in TRL's format, to train a large model on them."""
    from ensemw2s.services.preferences.pairs import write_pairs

    written = write_pairs(run_dir, output, row=row, seed=seed)
    if as_json:
        write_json(asdict(written))
    else:
        say(out, f"{written.n_pairs} pairs of {written.row}, seed {written.seed}: {output}")
