"""The command that counts a published gain step by step."""

from pathlib import Path
from typing import Annotated

import typer

from ensemw2s.cli.common import (
    ConfigArgument,
    JsonOption,
    SetOption,
    TinyOption,
    app,
    err,
    out,
    settings_of,
    write_json,
)
from ensemw2s.screen import say
from ensemw2s.stopping import stops_cleanly


@app.command(epilog="Example:  ensemw2s replicate configs/tasks/sentiment.yaml --output runs/sentiment-ladder")
def replicate(
    config: ConfigArgument = None,
    overrides: SetOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the runs; one begun before is gone on with.  [default: runs/NAME-ladder]",
            show_default=False,
        ),
    ] = None,
    use_tiny: TinyOption = False,
    as_json: JsonOption = False,
) -> None:
    """Count what boosting gains as the paper counted it, then undo its choices one by one."""
    settings = settings_of(config, overrides, use_tiny=use_tiny)
    from ensemw2s.services.replication.rungs import plan_ladder

    plan = plan_ladder(settings)
    from ensemw2s.report.ladder import sentences, terminal_table
    from ensemw2s.services.replication.ladder import build_ladder

    folder = output or Path("runs") / f"{settings.name}-ladder"
    with stops_cleanly(f"{folder} and the store"):
        ladder = build_ladder(plan, folder, console=None if as_json else err)
    if as_json:
        write_json(ladder)
        return
    out.print(terminal_table(ladder))
    for sentence in sentences(ladder):
        say(out, sentence)
    out.print()
    say(out, f"Markdown: {folder / 'ladder.md'}")
