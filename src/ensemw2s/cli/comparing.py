"""Commands that put runs side by side."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from ensemw2s.cli.common import JsonOption, app, out


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
