"""Steps of a training as they are taken."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ensemw2s.meter import Advance, Count, watched


@contextmanager
def steps_told_to(told: Callable[[int], None]) -> Iterator[None]:
    """Call `told` with the number of steps so far after each step of a training; what it raises ends the training."""

    @contextmanager
    def watch(count: Count) -> Iterator[Advance]:
        def advance(n: int) -> None:
            count.add(n)
            if n == 1 and count.unit == "steps":  # more at once are those of a checkpoint
                told(count.done)

        yield advance

    with watched(watch):
        yield
