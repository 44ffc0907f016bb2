"""Workers of a Ray cluster that label the shards of a file. Shards of workers that die are labelled again."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ensemw2s.distributed.cluster import MAX_TRIES, N_THREADS, own_error, resources
from ensemw2s.errors import RunError
from ensemw2s.services.labelling.engine import Told
from ensemw2s.services.labelling.shard import Labeller, Shard, label_shard


class RayEngine:
    """Workers that each hold the ensemble and label whole shards (an `engine.Engine`).

    A shard is read when a worker is free to take it. A worker that dies, or whose node goes, is started again where
    there is room. Its shard goes to the next free worker, so a death costs the work of one shard and no label.

    Args:
        ensemble: folder of the ensemble, visible to every node.
        workers: number of workers.
        trusted: repository whose own code may run (`labeller.open_labeller`).
    """

    def __init__(self, ray: Any, ensemble: Path, workers: int, *, trusted: str | None = None):
        self._ray = ray
        actor = ray.remote(**resources(ray, workers), max_restarts=-1)(_Worker)
        self.redone = 0
        """Number of shards that were started again because a worker died."""
        self.workers = [actor.remote(str(ensemble.absolute()), trusted) for _ in range(workers)]

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
                raise own_error(error) from None
            except (ray.exceptions.RayActorError, ray.exceptions.RaySystemError) as error:
                # The restarted worker is free again once it answers; an actor that cannot restart is gone for good.
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
    """Process that holds an ensemble, opened with the first shard so that its errors are raised there."""

    def __init__(self, ensemble: str, trusted: str | None):
        import torch

        torch.set_num_threads(N_THREADS)
        self._ensemble, self._trusted = Path(ensemble), trusted
        self._labeller: Labeller | None = None

    def ready(self) -> int:
        """Process id, once the worker has started."""
        return os.getpid()

    def label(self, shard: Shard, batch_tokens: int) -> tuple[Shard, list[bytes]]:
        from ensemw2s.export.ensembles.labeller import open_labeller

        if self._labeller is None:
            self._labeller = open_labeller(self._ensemble, trusted=self._trusted)
        return shard, label_shard(shard, self._labeller, batch_tokens, lambda part: None)
