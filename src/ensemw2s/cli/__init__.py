"""The command line. Each command parses its arguments, makes one call and formats the result.

Each group of commands is a module; importing it adds them to the application.
"""

import sys

from ensemw2s.stopping import stops_cleanly

__all__ = ["main"]


def main() -> None:
    """Entry point. Errors and signals end in one message and an exit code."""
    with stops_cleanly():
        # Inside the context: importing these libraries takes a moment in which a signal may come.
        from ensemw2s.cli.commands import run_command

        sys.exit(run_command())
