"""Runs of a sweep as tasks of a Ray cluster."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemw2s.config import ExperimentConfig
from ensemw2s.distributed.cluster import MAX_TRIES, N_THREADS, own_error, resources
from ensemw2s.errors import EnsemW2SError, RunError

if TYPE_CHECKING:
    from ensemw2s.services.sweeps.sweep import ListenerOf


def run_each(
    ray: Any,
    jobs: Sequence[tuple[ExperimentConfig, Path]],
    workers: int,
    listener_of: "ListenerOf | None" = None,
) -> Iterator[tuple[int, EnsemW2SError | None]]:
    """Run every experiment in its folder, `workers` at a time. Yields each job's number with its error as it ends.

    A run whose worker dies is started again on another; its finished work is in the store.
    """
    task = ray.remote(**resources(ray, workers), max_retries=MAX_TRIES - 1)(_run)
    waiting = list(enumerate(jobs))[::-1]
    running: dict[Any, int] = {}
    while waiting or running:
        while waiting and len(running) < workers:
            number, (config, folder) = waiting.pop()
            running[task.remote(config, str(folder.absolute()), listener_of)] = number
        (done,), _ = ray.wait(list(running), num_returns=1)
        number = running.pop(done)
        try:
            ray.get(done)
            yield number, None
        except ray.exceptions.RayTaskError as error:
            cause = own_error(error)
            if not isinstance(cause, EnsemW2SError):
                raise cause from None
            yield number, cause
        except ray.exceptions.RayError as error:
            yield number, RunError(f"its worker died {MAX_TRIES} times ({str(error).splitlines()[0]})")


def _run(config: ExperimentConfig, folder: str, listener_of: "ListenerOf | None") -> None:
    import torch

    from ensemw2s.pipeline.run import run

    torch.set_num_threads(N_THREADS)
    run(config, Path(folder), listener=listener_of(config, Path(folder)) if listener_of else None)
