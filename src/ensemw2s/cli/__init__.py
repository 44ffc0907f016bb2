"""The command line: parse, one call, format. A group of commands is a module; importing it adds them."""

import sys

from ensemw2s.cli import experiments, data, queueing, comparing  # isort: skip  (the order of the help)
from ensemw2s.cli.common import app, err, is_main
from ensemw2s.errors import EnsemW2SError

__all__ = ["app", "comparing", "data", "experiments", "main", "queueing"]


def main() -> None:
    """Entry point: errors of this package become one paragraph and their exit code."""
    try:
        app()
    except EnsemW2SError as error:
        if is_main():
            err.print("[red]error:[/] ", end="")
            err.print(str(error), markup=False, soft_wrap=True)
        sys.exit(error.exit_code)
