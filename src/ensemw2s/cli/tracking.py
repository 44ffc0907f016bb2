"""The command that logs a run in an experiment tracker."""

from pathlib import Path
from typing import Annotated

import typer

from ensemw2s.cli.common import app, out
from ensemw2s.screen import say


@app.command(epilog="Example:  ensemw2s track runs/demo --to trackio")
def track(
    run_dir: Annotated[Path, typer.Argument(help="A finished run.")],
    to: Annotated[str, typer.Option(help="trackio, wandb, mlflow or tensorboard.")] = "trackio",
    project: Annotated[
        str | None, typer.Option(help="In the tracker.  [default: the experiment's name]", show_default=False)
    ] = None,
    folder: Annotated[Path, typer.Option(help="Of tensorboard's files.")] = Path("tensorboard"),
) -> None:
    """Log a finished run: settings, every round, every row of the table, the report."""
    from ensemw2s.services.tracking.track import track

    name = track(run_dir, to, project=project, folder=folder)
    say(out, f"{run_dir} is logged in {to} as {name}")
