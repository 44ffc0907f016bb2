"""Imports all commands, and runs one."""

import io
import sys

import typer

# In the order of the help.
# isort: off
from ensemw2s.cli import (
    experiments,
    data,
    serving,
    queueing,
    pairing,
    comparing,
    replicating,
    viewing,
    tracking,
    sharing,
)

# isort: on
from ensemw2s.cli.common import app, err, is_main
from ensemw2s.errors import ConfigError, EnsemW2SError
from ensemw2s.screen import say
from ensemw2s.text import is_text

__all__ = [
    "comparing",
    "data",
    "experiments",
    "pairing",
    "queueing",
    "replicating",
    "run_command",
    "serving",
    "sharing",
    "tracking",
    "viewing",
]


def run_command() -> int:
    """Run the command of the command line. Returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(
            stream, io.TextIOWrapper
        ):  # characters that a terminal lacks are escaped, instead of an exception
            stream.reconfigure(errors="backslashreplace")
    try:
        _check_arguments(sys.argv[1:])
        return app(prog_name="ensemw2s", standalone_mode=False) or 0
    except typer.Abort:
        _say_error("nothing was done: a question was left without an answer")
        return 1
    except typer.TyperException as error:
        if message := error.format_message():
            command = context.command_path if (context := getattr(error, "ctx", None)) else "ensemw2s"
            _say_error(f"{message.rstrip('.')}; see: {command} --help")
        return error.exit_code
    except EnsemW2SError as error:
        _say_error(str(error))
        return error.exit_code


def _check_arguments(arguments: list[str]) -> None:
    for argument in arguments:
        if not is_text(argument):
            raise ConfigError(
                f"the argument {argument!r} is no UTF-8 text; give paths and values in UTF-8, and rename a file or "
                "folder that has another name"
            )


def _say_error(message: str) -> None:
    if is_main():
        say(err, message, label="error:", style="red")
