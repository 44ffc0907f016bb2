"""One configuration with several values of some settings: every combination is a run in a folder of its own."""

import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ensemw2s.config import ExperimentConfig, load_config
from ensemw2s.errors import ConfigError, EnsemW2SError
from ensemw2s.screen import say
from ensemw2s.text import name_problem

if TYPE_CHECKING:
    from ensemw2s.pipeline.listener import Listener

    ListenerOf = Callable[[ExperimentConfig, Path], Listener]

MAX_RUNS = 10_000
"""Largest number of combinations of one sweep."""
Work = Callable[[Sequence[tuple[ExperimentConfig, Path]]], Iterator[tuple[int, EnsemW2SError | None]]]
"""Runs each experiment in its folder; yields the number of each job with its error, None where it succeeded."""


@dataclass(frozen=True)
class SweepRun:
    """One combination of a sweep."""

    folder: Path
    config: ExperimentConfig
    state: str
    """`there` (finished before), `done` or `failed`."""
    reason: str = ""


def combinations(
    config: Path | None, overrides: Sequence[str], over: Sequence[str], output: Path
) -> list[tuple[ExperimentConfig, Path]]:
    """All combinations of the values, validated, each with its folder below `output`.

    Args:
        over: entries `a.b=v1,v2`. A value that holds a comma is written in brackets, `seeds=[0,1],[2,3]`. A bare seed
            means a run of that seed.

    Raises:
        ConfigError: an entry has no value, two have one name, there are more than `MAX_RUNS` combinations, or one
            of them is no valid configuration.
    """
    axes = [_axis(entry) for entry in over]
    if not axes:
        raise ConfigError("sweep: nothing varies; give --over, for example: --over seeds=0,1,2")
    names = [name for name, _ in axes]
    if len(set(names)) < len(names):
        raise ConfigError(f"--over names {next(n for n in names if names.count(n) > 1)!r} twice; list its values once")
    n_runs = math.prod(len(values) for _, values in axes)
    if n_runs > MAX_RUNS:
        raise ConfigError(f"--over: {n_runs:,} combinations, but a sweep has at most {MAX_RUNS:,}; give fewer values")
    jobs: list[tuple[ExperimentConfig, Path]] = []
    for values in itertools.product(*(values for _, values in axes)):
        settings = [f"{name}={value}" for name, value in zip(names, values, strict=True)]
        shown = "+".join(f"{name.rpartition('.')[2]}={value}" for name, value in zip(names, values, strict=True))
        given = [f"seeds=[{s.partition('=')[2]}]" if re.fullmatch(r"seeds=\d+", s) else s for s in settings]
        jobs.append((load_config(config, [*overrides, *given]), output / re.sub(r"[^\w.=+-]+", "-", shown)))
    for _, folder in jobs:
        if problem := name_problem(folder.name):
            raise ConfigError(f"--over: {folder.name!r} is not the plain name of a folder: {problem}")
    folders = [folder for _, folder in jobs]
    if len(set(folders)) < len(folders):
        raise ConfigError(f"--over: two combinations have the folder {_twice(folders)}; give each value once")
    return jobs


def sweep(jobs: Sequence[tuple[ExperimentConfig, Path]], work: Work, console: Console | None = None) -> list[SweepRun]:
    """Run every combination that is not finished. A failed run does not stop the others."""
    from ensemw2s.pipeline.run_folder import is_finished

    runs: dict[int, SweepRun] = {}
    todo: list[int] = []
    for number, (config, folder) in enumerate(jobs):
        if is_finished(folder, config):
            runs[number] = SweepRun(folder, config, "there")
        else:
            todo.append(number)
    if console is not None:
        say(console, f"{len(jobs)} runs, {len(runs)} of them finished before")
    for place, error in work([jobs[number] for number in todo]):
        config, folder = jobs[todo[place]]
        state, reason = ("done", "") if error is None else ("failed", str(error))
        runs[todo[place]] = SweepRun(folder, config, state, reason)
        if console is not None:
            say(console, f"{len(runs)}/{len(jobs)}  {folder}: {state} {reason}")
    return [runs[number] for number in range(len(jobs))]


def run_here(
    jobs: Sequence[tuple[ExperimentConfig, Path]], listener_of: "ListenerOf | None" = None
) -> Iterator[tuple[int, EnsemW2SError | None]]:
    """Run one job after another in this process, each with its listener."""
    from ensemw2s.pipeline.run import run  # here, so that refused settings load no tensor library

    for number, (config, folder) in enumerate(jobs):
        try:
            run(config, folder, listener=listener_of(config, folder) if listener_of else None)
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
