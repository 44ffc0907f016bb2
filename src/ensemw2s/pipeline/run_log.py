"""What a run says while it works: events, times and how far it is, on disk and for whoever waits."""

import json
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from ensemw2s.meter import Advance, metered
from ensemw2s.pipeline.progress import ProgressFile
from ensemw2s.pipeline.run_folder import EVENTS, TIMING, read_timing, write
from ensemw2s.results import StageTime, Timing
from ensemw2s.storage.files import explained
from ensemw2s.storage.store import Store


@dataclass
class Journal:
    """Times stages, counts work, and keeps `events.jsonl` and `timing.json` of one run folder."""

    run_dir: Path
    console: Console | None = None
    """Where progress is shown; None: nowhere."""
    stages: dict[str, StageTime] = field(default_factory=dict)
    tokens_read: Counter[str] = field(default_factory=Counter)
    saved: Timing | None = None
    """What `timing.json` holds now."""

    def event(self, kind: str, **facts: Any) -> None:
        """Append one line; a line that a crash tore is ignored by `read_events`."""
        line = json.dumps({"time": time.time(), "event": kind, **facts}) + "\n"
        path = self.run_dir / EVENTS
        with explained(path):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                size = os.fstat(fd).st_size
                # A torn line is ended first, or this one would be lost with it.
                is_torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
                os.write(fd, b"\n" * is_torn + line.encode())
            finally:
                os.close(fd)

    @contextmanager
    def stage(self, name: str, store: Store, total: int | None) -> Iterator[Advance]:
        """Run a stage of `total` units at most, or of nobody knows how many; yields what is told of finished ones."""
        started = time.monotonic()
        computed, reused = store.computed.total(), store.reused.total()
        self.event("stage_started", stage=name)
        with metered(self.console, name, total) as shown, self.progress.stage(name, total) as noted:

            def advance(n: int) -> None:
                shown(n)
                noted(n)

            yield advance
        done = StageTime(
            stage=name,
            seconds=round(time.monotonic() - started, 3),
            computed=store.computed.total() - computed,
            reused=store.reused.total() - reused,
        )
        self.stages[name] = done
        self.saved = timing = self.timing()
        self.event("stage_finished", **done.model_dump(), timing=timing.model_dump(mode="json"))
        write(self.run_dir, TIMING, timing.model_dump_json(indent=2) + "\n")

    def timing(self) -> Timing:
        """Seconds add up over resumed runs, the peak is the largest of them."""
        stages = []
        for name, stage in self.stages.items():
            old = self._earlier.get(name)
            stages.append(
                stage
                if old is None
                else stage.model_copy(
                    update={
                        "seconds": round(stage.seconds + old.seconds, 3),
                        "computed": stage.computed + old.computed,
                    }
                )
            )
        return Timing(
            stages=tuple(stages),
            total_seconds=round(sum(s.seconds for s in stages), 3),
            peak_memory_mib=round(_peak_memory_mib(), 1),
            tokens_read=dict(self.tokens_read),
        )

    def __post_init__(self) -> None:
        self.progress = ProgressFile(self.run_dir)
        self._earlier: dict[str, StageTime] = {}
        log = self.run_dir / EVENTS
        if log.is_symlink() and not log.exists():
            with explained(log):
                log.unlink()
        if not os.path.lexists(self.run_dir / TIMING):
            return  # a first run, or somebody who wants a fresh count
        timing = read_timing(self.run_dir) or self._logged()
        if timing is not None:
            self._earlier = {s.stage: s for s in timing.stages}
            self.tokens_read.update(timing.tokens_read)

    def _logged(self) -> Timing | None:
        """The newest timing that the log holds, for where its own file is damaged."""
        for event in reversed(read_events(self.run_dir)):
            try:
                return Timing.model_validate(event["timing"])
            except (KeyError, TypeError, ValueError):
                continue
        return None


def read_events(run_dir: Path) -> list[dict[str, Any]]:
    """The whole events of a run; a line that is torn or damaged is left out. No log is no events."""
    events = []
    try:
        lines = (run_dir / EVENTS).read_bytes().splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            events.append(event)
    return events


def _peak_memory_mib() -> float:
    """This process's peak resident memory."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
