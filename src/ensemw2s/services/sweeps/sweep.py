"""One configuration with several values of some settings: every combination is a run in a folder of its own."""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from ensemw2s.config import ExperimentConfig, load_config
from ensemw2s.errors import ConfigError, EnsemW2SError
from ensemw2s.screen import say
from ensemw2s.text import name_problem

Work = Callable[[Sequence[tuple[ExperimentConfig, Path]]], Iterator[tuple[int, EnsemW2SError | None]]]
"""Runs each experiment in its folder; yields numbers with what went wrong."""


@dataclass(frozen=True)
class SweepRun:
    """One combination."""

    folder: Path
    config: ExperimentConfig
    state: str
    """`there` (finished before), `done` or `failed`."""
    reason: str = ""


def combinations(
    config: Path | None, overrides: Sequence[str], over: Sequence[str], output: Path
) -> list[tuple[ExperimentConfig, Path]]:
    """Every combination of the values, validated, with its folder below `output`.

    Args:
        over: `a.b=v1,v2` each; a value that holds a comma stands in brackets, `seeds=[0,1],[2,3]`. A bare seed is a
            run of that seed.

    Raises:
        ConfigError: an entry has no value, two have one name, or a combination is no valid configuration.
    """
    axes = [_axis(entry) for entry in over]
    if not axes:
        raise ConfigError("sweep: nothing varies; give --over, for example: --over seeds=0,1,2")
    names = [name for name, _ in axes]
    if len(set(names)) < len(names):
        raise ConfigError(f"--over names {next(n for n in names if names.count(n) > 1)!r} twice; list its values once")
    found: list[tuple[ExperimentConfig, Path]] = []
    for values in itertools.product(*(values for _, values in axes)):
        settings = [f"{name}={value}" for name, value in zip(names, values, strict=True)]
        shown = "+".join(f"{name.rpartition('.')[2]}={value}" for name, value in zip(names, values, strict=True))
        given = [f"seeds=[{s.partition('=')[2]}]" if re.fullmatch(r"seeds=\d+", s) else s for s in settings]
        found.append((load_config(config, [*overrides, *given]), output / re.sub(r"[^\w.=+-]+", "-", shown)))
    for _, folder in found:
        if problem := name_problem(folder.name):
            raise ConfigError(f"--over: {folder.name!r} is not the plain name of a folder: {problem}")
    folders = [folder for _, folder in found]
    if len(set(folders)) < len(folders):
        raise ConfigError(f"--over: two combinations have the folder {_twice(folders)}; give each value once")
    return found


def sweep(jobs: Sequence[tuple[ExperimentConfig, Path]], work: Work, console: Console | None = None) -> list[SweepRun]:
    """Finish every run that is not finished; one that fails stops no other."""
    from ensemw2s.pipeline.run_folder import is_finished

    found: dict[int, SweepRun] = {}
    todo: list[int] = []
    for number, (config, folder) in enumerate(jobs):
        if is_finished(folder, config):
            found[number] = SweepRun(folder, config, "there")
        else:
            todo.append(number)
    if console is not None:
        say(console, f"{len(jobs)} runs, {len(found)} of them finished before")
    for place, error in work([jobs[number] for number in todo]):
        config, folder = jobs[todo[place]]
        state, reason = ("done", "") if error is None else ("failed", str(error))
        found[todo[place]] = SweepRun(folder, config, state, reason)
        if console is not None:
            say(console, f"{len(found)}/{len(jobs)}  {folder}: {state} {reason}")
    return [found[number] for number in range(len(jobs))]


def run_here(jobs: Sequence[tuple[ExperimentConfig, Path]]) -> Iterator[tuple[int, EnsemW2SError | None]]:
    """One run after another, in this process."""
    from ensemw2s.pipeline.run import run  # here, so that refused settings load no tensor library

    for number, (config, folder) in enumerate(jobs):
        try:
            run(config, folder)
            yield number, None
        except EnsemW2SError as error:
            yield number, error


def _axis(entry: str) -> tuple[str, list[str]]:
    name, _, text = entry.partition("=")
    values = [v.strip() for v in re.findall(r"\[[^\]]*\]|[^,\[\]]+", text) if v.strip()]
    if not name or not values:
        raise ConfigError(f"--over {entry!r}: write the setting and its values, for example: --over weak.n_layers=8,12")
    return name, values


def _twice(folders: Sequence[Path]) -> Path:
    return next(folder for folder in folders if folders.count(folder) > 1)
