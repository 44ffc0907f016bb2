"""How far a run is, on disk, for whoever looks at the run folder from outside."""

import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ensemw2s.errors import RunError
from ensemw2s.meter import Advance, Count, watched
from ensemw2s.pipeline.run_folder import PROGRESS, write
from ensemw2s.results.progress import Progress, Work

EVERY_S = 2.0
"""Seconds between two writings within a stage."""


@dataclass
class ProgressFile:
    """`progress.json` of a run folder. That it cannot be written costs no run: nothing is read from it but how far."""

    run_dir: Path
    _counts: list[Count] = field(default_factory=list[Count])
    _due: float = 0.0

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Advance]:
        """A stage, and what is worked at within it; yields what is told of its finished units."""
        self._due = 0.0  # a stage that begins is told at once
        with self._watch(Count(name, total=total)) as advance, watched(self._watch):
            yield advance

    def remove(self) -> None:
        """The run is finished."""
        with contextlib.suppress(OSError):
            (self.run_dir / PROGRESS).unlink()

    @contextmanager
    def _watch(self, count: Count) -> Iterator[Advance]:
        self._counts.append(count)
        self._note()

        def advance(n: int) -> None:
            count.add(n)
            self._note()

        try:
            yield advance
        finally:
            self._counts.remove(count)

    def _note(self) -> None:
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + EVERY_S
        work = tuple(
            Work(what=c.what, unit=c.unit, done=c.done, total=c.total, seconds=now - c.started, left=c.left)
            for c in self._counts
        )
        with contextlib.suppress(RunError):
            write(self.run_dir, PROGRESS, Progress(time=time.time(), work=work).model_dump_json() + "\n")
