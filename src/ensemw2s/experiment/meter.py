"""Progress over rows whose number may be unknown: rows done, rows a second, time left."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn


class Meter:
    """Speed and time left are those of the work of this process: rows that an earlier one did do not count.

    Args:
        progress: where it is drawn; None: nowhere.
        total: units of the whole (bytes or rows), by which the time left is estimated.
    """

    def __init__(self, progress: Progress | None, total: int):
        self._progress = progress
        self._total = total
        self._task = TaskID(0) if progress is None else progress.add_task("rows", total=total, note="")
        self._start = (time.monotonic(), 0, 0)

    def passed(self, rows: int, units: int) -> None:
        """That far without work."""
        self._start = (time.monotonic(), rows, units)
        self._show(float(rows), float(units), "already done")

    def between(self, row: int, unit: int, last_row: int, last_unit: int) -> Callable[[float], None]:
        """What shows that a part, from 0 to 1, of the way between two places is worked off."""
        return lambda part: self._worked(row + part * (last_row - row), unit + part * (last_unit - unit))

    def _worked(self, rows: float, units: float) -> None:
        started, rows_before, units_before = self._start
        seconds = max(time.monotonic() - started, 1e-9)
        left = (self._total - units) * seconds / max(units - units_before, 1)
        self._show(rows, units, f"{(rows - rows_before) / seconds:,.1f} rows/s, left {timedelta(seconds=round(left))}")

    def _show(self, rows: float, units: float, note: str) -> None:
        if self._progress is not None:
            self._progress.update(self._task, completed=units, note=f"{rows:,.0f} rows, {note}")


@contextmanager
def metered(console: Console | None, total: int) -> Iterator[Meter]:
    """A meter on that console; where there is none, or it is no terminal, nothing is drawn."""
    if console is None or not console.is_terminal:
        yield Meter(None, total)
        return
    with Progress(TextColumn("labels"), BarColumn(), TextColumn("{task.fields[note]}"), console=console) as progress:
        yield Meter(progress, total)
