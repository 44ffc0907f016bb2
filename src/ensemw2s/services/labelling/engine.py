"""Engines that label the shards of a file. The labels do not depend on the engine, and only whole shards are saved."""

from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

from ensemw2s.services.labelling.shard import Labeller, Shard, label_shard

Told = Callable[[Shard, float], None]
"""Progress callback: called with a shard and the part of it that is done, from 0 to 1."""


@runtime_checkable
class Engine(Protocol):
    """Labels shards with one worker or many."""

    def label(self, shards: Iterator[Shard], batch_tokens: int, told: Told) -> Iterator[tuple[Shard, list[bytes]]]:
        """Yield each shard, as `label_shard` leaves it, with its lines of labels, in any order.

        A shard is taken from the iterator only when a worker is free to start it.
        """
        ...


class LocalEngine:
    """Labels one shard after another in this process."""

    def __init__(self, labeller: Labeller):
        self._labeller = labeller

    def label(self, shards: Iterator[Shard], batch_tokens: int, told: Told) -> Iterator[tuple[Shard, list[bytes]]]:
        """See `Engine`."""
        for shard in shards:

            def of_shard(part: float, shard: Shard = shard) -> None:
                told(shard, part)

            yield shard, label_shard(shard, self._labeller, batch_tokens, of_shard)
