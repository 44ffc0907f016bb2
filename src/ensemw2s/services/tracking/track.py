"""What a tracker is told of a finished run: its settings, each round, each row of its table, and its files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ensemw2s.pipeline.run_folder import read_results
from ensemw2s.results import Results
from ensemw2s.services.tracking.trackers import Tracker, open_tracker

FILES = ("report.html", "results.json", "config.yaml", "timing.json")
"""Kept in the tracker beside the metrics."""


def track(run_dir: Path, kind: str, *, project: str | None = None, folder: Path = Path("tensorboard")) -> str:
    """Log a finished run. Each call adds a run to the tracker.

    Args:
        kind: name of the tracker, of `trackers.TRACKERS`.
        project: in the tracker; by default the name of the experiment.
        folder: of tensorboard's files; the other trackers have settings of their own for their place.

    Returns:
        The run's name in the tracker.

    Raises:
        RunError: the run is not finished, or damaged.
        ConfigError: the tracker is unknown, is not installed, or refuses.
    """
    results = read_results(run_dir)
    name = f"{results.name}-{results.config_hash[:8]}"
    settings = yaml.safe_load((run_dir / "config.yaml").read_bytes())
    settings["versions"] = settings.pop("_run", {}).get("versions", {})
    tracker = open_tracker(kind, project or results.name, name, settings, folder)
    tell(results, run_dir, tracker)
    return name


def tell(results: Results, run_dir: Path, tracker: Tracker) -> None:
    """Log everything and finish."""
    rounds = dict(by_round(results))
    for step, metrics in rounds.items():
        tracker.log(metrics, step)
    tracker.log(by_row(results), max(rounds, default=0) + 1)
    tracker.keep([path for name in FILES if (path := run_dir / name).is_file()])
    tracker.finish()


def by_round(results: Results) -> Iterator[tuple[int, dict[str, float]]]:
    """Rounds in order, each with the figures of every method and seed that has it."""
    steps = sorted({one.round for trace in results.ensembles for one in trace.rounds})
    for step in steps:
        metrics: dict[str, float] = {}
        for trace in results.ensembles:
            for one in trace.rounds:
                if one.round == step:
                    place = f"rounds/{trace.method}/seed-{trace.seed}"
                    metrics[f"{place}/weighted_error"] = one.weighted_error
                    metrics[f"{place}/expert_weight"] = one.expert_weight
                    metrics[f"{place}/effective_sample_size"] = one.effective_sample_size
                    metrics |= {f"{place}/member_accuracy/{part}": v for part, v in one.member_accuracy.items()}
                    metrics |= {f"{place}/ensemble_accuracy/{part}": v for part, v in one.ensemble_accuracy.items()}
        yield step, metrics


def by_row(results: Results) -> dict[str, float]:
    """Every figure of every row of the table, students and baselines alike: mean and interval over seeds and items."""
    metrics: dict[str, Any] = {}
    for row in results.rows:
        for part, figures in row.parts.items():
            for metric, figure in figures.items():
                place = f"rows/{row.key}/{part}/{metric}"
                metrics[place] = figure.interval.mean
                metrics[f"{place}_low"], metrics[f"{place}_high"] = figure.interval.low, figure.interval.high
    return metrics
