"""A Ray cluster, or Ray on this machine: connecting to it and ending it with this process.

Ray moves tasks and results between processes in its own formats. Files are written by the caller alone.
"""

import contextlib
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import psutil

from ensemw2s.distributed import reaper
from ensemw2s.errors import ConfigError
from ensemw2s.stopping import handlers_kept, is_stopping

N_THREADS = 1
"""Number of threads of a worker on a CPU, Ray's own default. With more threads the last digits of a probability would
depend on how many workers share a machine."""
MAX_TRIES = 4
"""Number of worker deaths after which a piece of work fails."""


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
        if not is_stopping():  # Ray's shutdown takes seconds, during which another signal would end it silently
            with handlers_kept():
                ray.shutdown()
        helpers.kill()


def _start(ray: Any, workers: int, address: str | None) -> None:
    start: dict[str, Any] = {"address": address}
    if address is None:  # start a new one instead of joining one that happens to run
        start = {"address": "local", "num_cpus": workers, "include_dashboard": False}
    try:
        with handlers_kept(), warnings.catch_warnings():  # Ray's own would end this process with a trace
            warnings.simplefilter("ignore")
            ray.init(**start, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(f"--address {address}: no Ray cluster there ({str(error).splitlines()[0]})") from None


class _Helpers:
    """Ends the processes that Ray starts on this machine when this process ends, however it ends."""

    def __init__(self):
        self._before = {child.pid for child in psutil.Process().children(recursive=True)}
        self._watcher: subprocess.Popen[bytes] | None = None

    def watch(self) -> None:
        """Start a process that outlives this one and ends the processes started since `__init__`."""
        if self._watcher is None and hasattr(os, "pidfd_open"):
            now = {child.pid for child in psutil.Process().children(recursive=True)}
            command = [sys.executable, "-I", "-S", reaper.__file__, *map(str, now - self._before)]
            self._watcher = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def kill(self) -> None:
        """End all of these processes now."""
        self.watch()
        if self._watcher is not None:
            self._watcher.communicate()


def resources(ray: Any, workers: int) -> dict[str, int]:
    """Ray resources of one worker: one CPU, and one GPU where there are enough for all workers."""
    enough = ray.cluster_resources().get("GPU", 0) >= workers
    return {"num_cpus": 1, "num_gpus": 1 if enough else 0}


def own_error(error: Any) -> BaseException:
    """The exception that was raised in the worker."""
    return error.cause if isinstance(error.cause, BaseException) else error
