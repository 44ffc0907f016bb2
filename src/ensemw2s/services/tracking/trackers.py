"""Experiment trackers behind one small protocol."""

import importlib
import re
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

from ensemw2s.errors import ConfigError


@runtime_checkable
class Tracker(Protocol):
    """One run in a tracker, begun or gone on with, and not finished."""

    @property
    def id(self) -> str:
        """By which the tracker goes on with this run."""
        ...

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Metrics of one step, in any order of the steps; a metric comes once in each."""
        ...

    def keep(self, files: Sequence[Path]) -> None:
        """Copies of these files."""
        ...

    def finish(self, *, is_whole: bool) -> None:
        """Nothing more comes: of a finished run, or of one that was interrupted or failed."""
        ...


class _Hosted:
    """What Weights & Biases and trackio share, which has the same interface."""

    def __init__(self, module: ModuleType, run: Any, name: str):
        self._module, self._run, self._name = module, run, name

    def keep(self, files: Sequence[Path]) -> None:
        """See `Tracker`."""
        artifact = self._module.Artifact(self._name, type="run")
        for path in files:
            artifact.add_file(str(path))
        self._run.log_artifact(artifact)


class Trackio(_Hosted):
    """trackio, which knows a run by its name."""

    def __init__(self, module: ModuleType, project: str, name: str, settings: Mapping[str, Any], resume: str):
        run = module.init(
            project=project,
            name=name,
            config=dict(settings),
            resume="allow" if resume else "never",
            auto_log_cpu=False,
            auto_log_gpu=False,
            embed=False,
        )
        super().__init__(module, run, name)
        self.id = name

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """See `Tracker`."""
        self._run.log(dict(metrics), step=step)

    def finish(self, *, is_whole: bool) -> None:
        """See `Tracker`."""
        self._module.finish()  # the run's own would be called again when the process ends


class Wandb(_Hosted):
    """Weights & Biases. Its own steps only grow, so a round is a metric, over which the others are drawn."""

    def __init__(self, module: ModuleType, project: str, name: str, settings: Mapping[str, Any], resume: str):
        self.id = resume or uuid.uuid4().hex
        run = module.init(project=project, name=name, config=dict(settings), id=self.id, resume="allow")
        super().__init__(module, run, name)
        run.define_metric("round")
        run.define_metric("*", step_metric="round")

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """See `Tracker`."""
        self._run.log({**metrics, "round": step})

    def finish(self, *, is_whole: bool) -> None:
        """See `Tracker`."""
        self._run.finish(exit_code=0 if is_whole else 1)


class Mlflow:
    """MLflow, where its own settings (`MLFLOW_TRACKING_URI`) say."""

    def __init__(self, module: ModuleType, project: str, name: str, settings: Mapping[str, Any], resume: str):
        self._module = module
        module.set_experiment(project)
        run = module.start_run(run_id=resume) if resume else module.start_run(run_name=name)
        self.id = run.info.run_id
        if not resume:
            module.log_params({key: str(value)[:500] for key, value in flat(settings)})

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """See `Tracker`."""
        self._module.log_metrics({re.sub(r"[^\w\-./: ]", "_", name): v for name, v in metrics.items()}, step=step)

    def keep(self, files: Sequence[Path]) -> None:
        """See `Tracker`."""
        for path in files:
            self._module.log_artifact(str(path))

    def finish(self, *, is_whole: bool) -> None:
        """See `Tracker`."""
        self._module.end_run("FINISHED" if is_whole else "KILLED")


class Tensorboard:
    """TensorBoard's files in a folder; those to be kept lie beside them."""

    def __init__(self, module: ModuleType, folder: Path, settings: Mapping[str, Any]):
        self._folder = folder
        self.id = str(folder)
        self._writer = module.SummaryWriter(str(folder))
        self._writer.add_text("settings", "\n".join(f"    {key}: {value}" for key, value in flat(settings)))

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """See `Tracker`."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def keep(self, files: Sequence[Path]) -> None:
        """See `Tracker`."""
        for path in files:
            shutil.copy(path, self._folder / path.name)

    def finish(self, *, is_whole: bool) -> None:
        """See `Tracker`."""
        self._writer.close()


TRACKERS = {
    "trackio": "trackio",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "tensorboard": "torch.utils.tensorboard",
}
"""The module of each."""


def check_installed(kind: str, option: str) -> ModuleType:
    """The tracker's module.

    Args:
        option: what named it, for messages.

    Raises:
        ConfigError: the tracker is unknown, or not installed.
    """
    if kind not in TRACKERS:
        raise ConfigError(f"{option}: got {kind!r}, and there is {', '.join(TRACKERS)}")
    try:
        return importlib.import_module(TRACKERS[kind])
    except ImportError:
        raise ConfigError(f"{option} {kind}: {kind} is not installed; install it with: pip install {kind}") from None


def open_tracker(
    kind: str,
    project: str,
    name: str,
    settings: Mapping[str, Any],
    folder: Path,
    *,
    resume: str = "",
    option: str = "--to",
) -> Tracker:
    """Begin a run in a tracker, or go on with one.

    Args:
        settings: of the run, shown beside its metrics.
        folder: of tensorboard's files.
        resume: id of the run that is gone on with; empty for a new one.
        option: as of `check_installed`.

    Raises:
        ConfigError: the tracker is unknown, is not installed, or refuses.
    """
    module = check_installed(kind, option)
    try:
        with aside():
            if kind == "tensorboard":
                return Tensorboard(module, folder / project / name, settings)
            return {"mlflow": Mlflow, "trackio": Trackio, "wandb": Wandb}[kind](module, project, name, settings, resume)
    except Exception as error:  # of another package, each with its own
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"{option} {kind}: {kind} refuses ({type(error).__name__}: {reason}); see its own settings"
        ) from error


def aside() -> AbstractContextManager[object]:
    """Trackers speak on standard output, which is the command's."""
    return redirect_stdout(sys.stderr)


def flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings with dots between their names."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value
