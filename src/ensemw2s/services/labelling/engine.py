"""Who labels the shards of a file. Whoever does, a shard's labels are the same, and only whole shards count."""

from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

from ensemw2s.services.labelling.shard import Labeller, Shard, label_shard

Told = Callable[[Shard, float], None]
"""Hears which part of a shard is done."""


@runtime_checkable
class Engine(Protocol):
    """One worker, or many."""

    def label(self, shards: Iterator[Shard], batch_tokens: int, told: Told) -> Iterator[tuple[Shard, list[bytes]]]:
        """Each shard, as `label_shard` leaves it, with its lines of labels; in whatever order they are done.

        Shards are taken from the iterator only when a worker can begin one.
        """
        ...


class LocalEngine:
    """One shard after another, in this process."""

    def __init__(self, labeller: Labeller):
        self._labeller = labeller

    def label(self, shards: Iterator[Shard], batch_tokens: int, told: Told) -> Iterator[tuple[Shard, list[bytes]]]:
        """See `Engine`."""
        for shard in shards:

            def of_shard(part: float, shard: Shard = shard) -> None:
                told(shard, part)

            yield shard, label_shard(shard, self._labeller, batch_tokens, of_shard)
