"""Many methods on many tasks: what is missing is run, seed by seed, within a budget of time; then all are compared.

A cell is one seed of one task with all its methods. Its units of work go through the store, so a killed comparison goes
on where it was, what methods share is done once, and the run over all seeds that follows finds everything there.
"""

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from ensemw2s.config import ExperimentConfig, canonical_hash, load_config
from ensemw2s.errors import ConfigError, RunError
from ensemw2s.pipeline.run import run, train
from ensemw2s.pipeline.run_folder import is_finished
from ensemw2s.pipeline.tiny import tiny
from ensemw2s.report.leaderboard import markdown, write_page
from ensemw2s.results.leaderboard import Leaderboard
from ensemw2s.screen import say
from ensemw2s.services.leaderboard.figures import TaskRun, make_leaderboard
from ensemw2s.services.leaderboard.methods import chosen_methods, with_methods
from ensemw2s.storage.files import write_atomic
from ensemw2s.storage.locks import run_lock

DEFAULT = "geo-facts"
"""The task of the embedded configuration."""
_UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class LeaderboardPlan:
    """A validated leaderboard: a configuration and the methods' rows per task."""

    configs: dict[str, ExperimentConfig]
    rows: dict[str, dict[str, str]]
    seeds: tuple[int, ...]

    def of_seeds(self, task: str, seeds: Sequence[int]) -> ExperimentConfig:
        return self.configs[task].model_copy(update={"seeds": tuple(seeds)})


def plan_leaderboard(
    methods: str,
    tasks: Sequence[str],
    seeds: Sequence[int],
    overrides: Sequence[str] = (),
    *,
    use_tiny: bool = False,
) -> LeaderboardPlan:
    """Check everything that is asked for.

    Args:
        methods: `all`, or names with commas between them.
        tasks: configuration files, or `geo-facts`.
        overrides: `a.b=c` settings laid over every task's configuration.

    Raises:
        ConfigError: a method is unknown, a configuration is invalid, two tasks have one name, or there is no seed.
    """
    names = chosen_methods(methods)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError(f"--seeds: give one or more distinct seeds, got {list(seeds)}")
    configs: dict[str, ExperimentConfig] = {}
    rows: dict[str, dict[str, str]] = {}
    for task in tasks:
        config = load_config(None if task == DEFAULT else Path(task), overrides)
        config, fit = with_methods(tiny(config) if use_tiny else config, names)
        if config.name in configs:
            raise ConfigError(f"--tasks: two configurations have the name {config.name!r}; give each its own `name`")
        configs[config.name], rows[config.name] = config, fit
    if not configs:
        raise ConfigError(f"--tasks: there is none; give configuration files, or {DEFAULT}")
    return LeaderboardPlan(configs, rows, tuple(seeds))


def parse_budget(text: str) -> float:
    """Seconds of `90s`, `45m`, `2h` or `1h30m`. Raises ConfigError."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smh])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        raise ConfigError(f"--budget {text!r}: give a time such as 90s, 45m, 2h or 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def build_leaderboard(
    plan: LeaderboardPlan, root: Path, *, budget: float | None = None, console: Console | None = None
) -> Leaderboard:
    """Run what is missing of a leaderboard, within the budget, and write leaderboard.json, .md and .html into `root`.

    A cell is begun only if, by the time that the task's last one took, it would end within the budget; the first cell
    of each task is always run. What earlier calls finished is not redone, whatever their methods, tasks and seeds were.

    Raises:
        ConfigError, DataError, ModelError: before the task's training, naming what to mend.
        RunError: the folder is in use or cannot be written.
    """
    started = time.monotonic()
    with run_lock(root, option="--output"):
        done: dict[str, list[int]] = {task: [] for task in plan.configs}
        seconds = 0.0
        last: dict[str, float] = {}
        cells = [(seed, task) for seed in plan.seeds for task in plan.configs]
        for number, (seed, task) in enumerate(cells, start=1):
            config = plan.of_seeds(task, [seed])
            note = root / "cells" / f"{canonical_hash(config)[:16]}.json"
            spent = _read_seconds(note)
            if spent is None:
                left = None if budget is None else budget - (time.monotonic() - started)
                if left is not None and task in last and left < last[task]:
                    continue
                before = time.monotonic()
                timing = train(config, root / "cells" / canonical_hash(config)[:16])
                last[task] = time.monotonic() - before
                spent = timing.total_seconds
                write_atomic(note, json.dumps({"task": task, "seed": seed, "seconds": spent}) + "\n")
                _say(console, f"{number}/{len(cells)}  {task}, seed {seed}: {last[task]:.0f} s")
            else:
                _say(console, f"{number}/{len(cells)}  {task}, seed {seed}: there")
            done[task].append(seed)
            seconds += spent
        runs = []
        for task, seeds in done.items():
            if not seeds:
                continue
            config = plan.of_seeds(task, seeds)
            folder = root / "runs" / f"{task}-{canonical_hash(config)[:8]}"
            _say(console, f"{task}: {len(seeds)} of {len(plan.seeds)} seeds are compared")
            if not is_finished(folder, config):
                run(config, folder)
            runs.append(TaskRun(task, folder, plan.rows[task]))
        missing = [f"{task}, seed {seed}" for seed, task in cells if seed not in done[task]]
        leaderboard = make_leaderboard(runs, root, seconds=seconds, missing=missing)
        write_atomic(root / "leaderboard.json", leaderboard.model_dump_json(indent=1) + "\n")
        write_atomic(root / "leaderboard.md", markdown(leaderboard))
        write_page(leaderboard, root / "leaderboard.html")
        return leaderboard


def _read_seconds(note: Path) -> float | None:
    try:
        return float(json.loads(note.read_text())["seconds"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise RunError(f"{note}: damaged; remove it, and the cell is looked up in the store again") from None


def _say(console: Console | None, text: str) -> None:
    if console is not None:
        say(console, text)
