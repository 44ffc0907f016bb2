"""Parts shared by all commands: the application, its consoles, common options and printing."""

import json
import math
import os
import sys
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ensemw2s.errors import ConfigError
from ensemw2s.screen import Screen, say
from ensemw2s.text import visible_json

if TYPE_CHECKING:
    from pydantic import BaseModel

    from ensemw2s.config import ExperimentConfig

EPILOG = (
    "Exit codes: 0 done, 1 other error, 2 configuration or usage, 3 data, 4 model, 5 run folder or store, "
    "129 hung up, 130 interrupted, 143 terminated."
)
app = typer.Typer(
    name="ensemw2s",
    help="Boost weak language models, let them label hard data, train a stronger model on those labels.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
out = Screen()
err = Screen(stderr=True)


def _print_version(wanted: bool) -> bool:
    if wanted:
        from ensemw2s import __version__

        say(out, f"ensemw2s {__version__}")
        raise typer.Exit()
    return wanted


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of the program itself."""


class Engine(StrEnum):
    """How independent units of work are run."""

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
TrustOption = Annotated[
    str | None,
    typer.Option(
        "--trust-remote-code-from",
        metavar="NAME",
        help="Run the code that this model brings: its hub id or folder, after you have read it.  [default: none]",
        show_default=False,
    ),
]
ColumnsOption = Annotated[
    str | None,
    typer.Option(
        metavar="A,B,...",
        help="Columns of the output: the input's, id, answer, confidence, members, agreement, error, and what else is "
        "known, such as probability.  [default: the input's and the first six]",
        show_default=False,
    ),
]
IdOption = Annotated[
    str | None, typer.Option("--id", help="Column of unique names.  [default: row-1, ...]", show_default=False)
]
FeaturesOption = Annotated[
    Path | None,
    typer.Option(
        "--features",
        metavar="FILE",
        help="Vectors of the rows, by their ids: for models that read vectors and no prompts.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document for machines.")]


def settings_of(config: Path | None, overrides: list[str] | None, *, use_tiny: bool) -> "ExperimentConfig":
    """Configuration of a command from its file and overrides. Raises ConfigError."""
    from ensemw2s.config import load_config

    settings = load_config(config, overrides or ())
    if use_tiny:
        from ensemw2s.pipeline.tiny import tiny

        settings = tiny(settings)
    return settings


def check_engine(engine: Engine, workers: int, address: str | None) -> None:
    """Refuse options of Ray without `--engine ray`. Raises ConfigError."""
    if engine is Engine.local and (workers > 1 or address):
        raise ConfigError("--workers and --address are of --engine ray; add it, or leave them out")


def columns_of(names: str | None) -> list[str] | None:
    """The columns of `--columns`. Raises ConfigError where there is none, or one twice."""
    if names is None:
        return None
    columns = [name.strip() for name in names.split(",") if name.strip()]
    if not columns or len(set(columns)) < len(columns):
        raise ConfigError(f"--columns {names!r}: give each column once, with commas between")
    return columns


def warn_of_rare(counts: dict[str, int]) -> None:
    """Warn of rare classes among the labels."""
    from ensemw2s.data.balance import rare_classes

    warn(rare_classes(counts))


def warn(sentences: Iterable[str]) -> None:
    """Print warnings on standard error."""
    for sentence in sentences:
        say(err, sentence, label="warning:", style="yellow")


def is_main() -> bool:
    """Whether this is the main process of a launch, the only one that prints."""
    return os.environ.get("RANK", "0") == "0"


def write_json(document: "BaseModel | Mapping[str, Any]") -> None:
    """Print one line of JSON on standard output; JSON has no infinite numbers, so these are null."""
    from pydantic import BaseModel

    plain = document.model_dump(mode="json") if isinstance(document, BaseModel) else document
    text = json.dumps(_finite(plain), ensure_ascii=False, allow_nan=False)
    sys.stdout.write(visible_json(text, sys.stdout.encoding or "utf-8") + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
