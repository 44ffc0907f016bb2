"""The command line: parse, one call, format. A group of commands is a module; importing it adds them."""

import sys

from ensemw2s.stopping import stops_cleanly

__all__ = ["main"]


def main() -> None:
    """Entry point: whatever goes wrong, or stops it, becomes one paragraph and an exit code."""
    with stops_cleanly():
        # Below what catches a signal: the libraries that are imported here take a moment.
        from ensemw2s.cli.commands import run_command

        sys.exit(run_command())
