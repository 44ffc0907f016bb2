"""Experiment trackers behind one small protocol."""

import importlib
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

from ensemw2s.errors import ConfigError


@runtime_checkable
class Tracker(Protocol):
    """One run in a tracker, begun and not finished."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Metrics of one step; steps grow."""
        ...

    def keep(self, files: Sequence[Path]) -> None:
        """Copies of these files."""
        ...

    def finish(self) -> None:
        """Nothing more comes."""
        ...


class Wandb:
    """Weights & Biases, or trackio, which has the same interface.

    Args:
        options: of its own `init`.
    """

    def __init__(self, module: ModuleType, project: str, name: str, settings: Mapping[str, Any], **options: Any):
        self._module, self._name = module, name
        self._run = module.init(project=project, name=name, config=dict(settings), **options)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """See `Tracker`."""
        self._run.log(dict(metrics), step=step)

    def keep(self, files: Sequence[Path]) -> None:
        """See `Tracker`."""
        artifact = self._module.Artifact(self._name, type="run")
        for path in files:
            artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def finish(self) -> None:
        """See `Tracker`."""
        self._run.finish()


class Mlflow:
    """MLflow, where its own settings (`MLFLOW_TRACKING_URI`) say."""

    def __init__(self, module: ModuleType, project: str, name: str, settings: Mapping[str, Any]):
        self._module = module
        module.set_experiment(project)
        module.start_run(run_name=name)
        module.log_params({key: str(value)[:500] for key, value in flat(settings)})

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """See `Tracker`."""
        self._module.log_metrics({re.sub(r"[^\w\-./: ]", "_", name): v for name, v in metrics.items()}, step=step)

    def keep(self, files: Sequence[Path]) -> None:
        """See `Tracker`."""
        for path in files:
            self._module.log_artifact(str(path))

    def finish(self) -> None:
        """See `Tracker`."""
        self._module.end_run()


class Tensorboard:
    """TensorBoard's files in a folder; those to be kept lie beside them."""

    def __init__(self, module: ModuleType, folder: Path, settings: Mapping[str, Any]):
        self._folder = folder
        self._writer = module.SummaryWriter(str(folder))
        self._writer.add_text("settings", "\n".join(f"    {key}: {value}" for key, value in flat(settings)))

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """See `Tracker`."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def keep(self, files: Sequence[Path]) -> None:
        """See `Tracker`."""
        for path in files:
            shutil.copy(path, self._folder / path.name)

    def finish(self) -> None:
        """See `Tracker`."""
        self._writer.close()


TRACKERS = {
    "trackio": "trackio",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "tensorboard": "torch.utils.tensorboard",
}
"""The module of each."""


def open_tracker(kind: str, project: str, name: str, settings: Mapping[str, Any], folder: Path) -> Tracker:
    """Begin a run in a tracker.

    Args:
        settings: of the run, shown beside its metrics.
        folder: of tensorboard's files.

    Raises:
        ConfigError: the tracker is unknown, is not installed, or refuses.
    """
    if kind not in TRACKERS:
        raise ConfigError(f"--to: got {kind!r}, and there is {', '.join(TRACKERS)}")
    try:
        module = importlib.import_module(TRACKERS[kind])
    except ImportError:
        raise ConfigError(f"--to {kind}: {kind} is not installed; install it with: pip install {kind}") from None
    try:
        if kind == "tensorboard":
            return Tensorboard(module, folder / project / name, settings)
        if kind == "mlflow":
            return Mlflow(module, project, name, settings)
        quiet = {"auto_log_cpu": False, "auto_log_gpu": False, "embed": False} if kind == "trackio" else {}
        return Wandb(module, project, name, settings, **quiet)
    except Exception as error:  # of another package, each with its own
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"--to {kind}: {kind} refuses ({type(error).__name__}: {reason}); see its own settings"
        ) from error


def flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings with dots between their names."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value
