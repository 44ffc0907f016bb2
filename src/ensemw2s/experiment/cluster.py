"""Workers of a Ray cluster, or of this machine through Ray: who they are, and what is done when one dies.

Ray moves tasks and results between processes in formats of its own; what is kept on disk is written by the caller.
"""

import contextlib
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from ensemw2s.config import ExperimentConfig
from ensemw2s.errors import ConfigError, EnsemW2SError, RunError
from ensemw2s.experiment import reaper
from ensemw2s.experiment.label_engine import Told
from ensemw2s.experiment.label_shard import Labeller, Shard, label_shard
from ensemw2s.stopping import handlers_kept, is_stopping

N_THREADS = 1
"""Of a worker on a CPU, as Ray itself sets it. With more, the last digits of a probability would depend on how many
workers share a machine."""
MAX_TRIES = 4
"""After so many deaths of workers over one piece of work, the piece is to blame."""


@contextlib.contextmanager
def connected(workers: int, address: str | None) -> Iterator[Any]:
    """Ray, started on this machine with as many CPUs as workers, or connected to the cluster at `address`.

    Raises:
        ConfigError: Ray is not installed, `workers` is below 1, or nobody answers at the address.
    """
    if workers < 1:
        raise ConfigError(f"--workers is {workers}; give a number of at least 1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise ConfigError(
            "--engine ray: Ray is not installed; install it with: pip install 'ensemw2s[distributed]'"
        ) from None
    if ray.is_initialized():
        yield ray
        return
    helpers = _Helpers()
    try:
        _start(ray, workers, address)
        helpers.watch()
        yield ray
    finally:
        if not is_stopping():  # Ray's own farewell takes seconds, and another signal ends it without a word
            with handlers_kept():
                ray.shutdown()
        helpers.kill()


def _start(ray: Any, workers: int, address: str | None) -> None:
    start: dict[str, Any] = {"address": address}
    if address is None:  # one of our own, and none that happens to be there
        start = {"address": "local", "num_cpus": workers, "include_dashboard": False}
    try:
        with handlers_kept(), warnings.catch_warnings():  # Ray's own would end this process with a trace
            warnings.simplefilter("ignore")
            ray.init(**start, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(f"--address {address}: no Ray cluster there ({str(error).splitlines()[0]})") from None


class _Helpers:
    """The processes that Ray starts on this machine: they end with this one, however it ends."""

    def __init__(self):
        self._before = {child.pid for child in psutil.Process().children(recursive=True)}
        self._watcher: subprocess.Popen[bytes] | None = None

    def watch(self) -> None:
        """Leave those that are there by now to a process that outlives this one."""
        if self._watcher is None and hasattr(os, "pidfd_open"):
            now = {child.pid for child in psutil.Process().children(recursive=True)}
            command = [sys.executable, "-I", "-S", reaper.__file__, *map(str, now - self._before)]
            self._watcher = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def kill(self) -> None:
        """All that are still there."""
        self.watch()
        if self._watcher is not None:
            self._watcher.communicate()


def resources(ray: Any, workers: int) -> dict[str, int]:
    """Of one worker: a CPU of Ray's, and a GPU where there are enough for all."""
    enough = ray.cluster_resources().get("GPU", 0) >= workers
    return {"num_cpus": 1, "num_gpus": 1 if enough else 0}


class RayEngine:
    """Workers that each hold the ensemble and label whole shards (`label_engine.Engine`).

    A shard is read when a worker is free to take it. A worker that dies, or whose node goes, is started again where
    there is room; the shard that it had goes to the next free worker, so a death costs one shard's work and no label.

    Args:
        ensemble: a folder that every node sees.
        workers: how many.
    """

    def __init__(self, ray: Any, ensemble: Path, workers: int):
        self._ray = ray
        actor = ray.remote(**resources(ray, workers), max_restarts=-1)(_Worker)
        self.redone = 0
        """Shards that were begun anew, because a worker died over them."""
        self.workers = [actor.remote(str(ensemble.absolute())) for _ in range(workers)]

    def label(self, shards: Iterator[Shard], batch_tokens: int, told: Told) -> Iterator[tuple[Shard, list[bytes]]]:
        """See `Engine`. Raises RunError where one shard kills every worker that takes it."""
        ray = self._ray
        idle, again = list(self.workers), list[Shard]()
        running: dict[Any, tuple[Any, Shard | None]] = {}
        tries: dict[int, int] = {}
        while True:
            while idle and (shard := again.pop() if again else next(shards, None)) is not None:
                worker = idle.pop()
                running[worker.label.remote(shard, batch_tokens)] = (worker, shard)
            if not any(shard for _, shard in running.values()) and not again:
                return
            if not running:
                raise RunError(
                    "no worker is left and none can be started; look at the nodes, and run the command again"
                )
            (done,), _ = ray.wait(list(running), num_returns=1)
            worker, shard = running.pop(done)
            try:
                result = ray.get(done)
            except ray.exceptions.RayTaskError as error:
                raise _own(error) from None
            except (ray.exceptions.RayActorError, ray.exceptions.RaySystemError) as error:
                # It counts as free again once its next life answers; if that cannot even begin, it is gone for good.
                if shard is not None or not isinstance(error, ray.exceptions.ActorDiedError):
                    running[worker.ready.remote()] = (worker, None)
                if shard is not None:
                    again.append(shard)
                    self.redone += 1
                    tries[shard.index] = tries.get(shard.index, 0) + 1
                    if tries[shard.index] >= MAX_TRIES:
                        raise RunError(
                            f"shard {shard.index}: {MAX_TRIES} workers died over it ({str(error).splitlines()[0]}); "
                            "give each more memory or lower --batch-tokens, and run the same command again"
                        ) from None
                continue
            idle.append(worker)
            if shard is not None:
                told(shard, 1.0)
                yield result


class _Worker:
    """The process that holds an ensemble. It is opened with the first shard, so that what is wrong is said there."""

    def __init__(self, ensemble: str):
        import torch

        torch.set_num_threads(N_THREADS)
        self._ensemble = Path(ensemble)
        self._labeller: Labeller | None = None

    def ready(self) -> int:
        """Its process, once it lives."""
        return os.getpid()

    def label(self, shard: Shard, batch_tokens: int) -> tuple[Shard, list[bytes]]:
        from ensemw2s.experiment.labeller import open_labeller

        if self._labeller is None:
            self._labeller = open_labeller(self._ensemble)
        return shard, label_shard(shard, self._labeller, batch_tokens, lambda part: None)


def run_each(
    ray: Any, jobs: Sequence[tuple[ExperimentConfig, Path]], workers: int
) -> Iterator[tuple[int, EnsemW2SError | None]]:
    """Run every experiment in its folder, `workers` at a time; each job's number with what went wrong, as they end.

    A run whose worker dies is begun again elsewhere; the store has what it had finished.
    """
    task = ray.remote(**resources(ray, workers), max_retries=MAX_TRIES - 1)(_run)
    waiting = list(enumerate(jobs))[::-1]
    running: dict[Any, int] = {}
    while waiting or running:
        while waiting and len(running) < workers:
            number, (config, folder) = waiting.pop()
            running[task.remote(config, str(folder.absolute()))] = number
        (done,), _ = ray.wait(list(running), num_returns=1)
        number = running.pop(done)
        try:
            ray.get(done)
            yield number, None
        except ray.exceptions.RayTaskError as error:
            cause = _own(error)
            if not isinstance(cause, EnsemW2SError):
                raise cause from None
            yield number, cause
        except ray.exceptions.RayError as error:
            yield number, RunError(f"its worker died {MAX_TRIES} times ({str(error).splitlines()[0]})")


def _run(config: ExperimentConfig, folder: str) -> None:
    import torch

    from ensemw2s.experiment.runner import run

    torch.set_num_threads(N_THREADS)
    run(config, Path(folder))


def _own(error: Any) -> BaseException:
    """What was raised in the worker."""
    return error.cause if isinstance(error.cause, BaseException) else error
