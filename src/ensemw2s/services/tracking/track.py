"""A finished run in an experiment tracker."""

from itertools import groupby
from pathlib import Path

import yaml

from ensemw2s.pipeline.run_folder import CONFIG, REPORT, RESULTS, TIMING, read_results
from ensemw2s.services.tracking.entries import of_results
from ensemw2s.services.tracking.trackers import open_tracker

FILES = (REPORT, RESULTS, CONFIG, TIMING)
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
    settings = yaml.safe_load((run_dir / CONFIG).read_bytes())
    settings["versions"] = settings.pop("_run", {}).get("versions", {})
    tracker = open_tracker(kind, project or results.name, name, settings, folder)
    entries = sorted(of_results(results), key=lambda entry: entry.step)
    for step, together in groupby(entries, lambda entry: entry.step):
        tracker.log({name: value for entry in together for name, value in entry.metrics.items()}, step)
    tracker.keep(files_of(run_dir))
    tracker.finish(is_whole=True)
    return name


def files_of(run_dir: Path) -> list[Path]:
    """A finished run's files that a tracker keeps."""
    return [path for name in FILES if (path := run_dir / name).is_file()]
