"""Progress display of a labelling: rows done, rows per second, time left."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn


class Meter:
    """Progress of this process. Rows labelled by an earlier one do not count towards speed and time left.

    Args:
        progress: display to draw on; None draws nothing.
        total: size of the whole input in units (bytes or rows), for the estimate of the time left.
    """

    def __init__(self, progress: Progress | None, total: int):
        self._progress = progress
        self._total = total
        self._task = TaskID(0) if progress is None else progress.add_task("rows", total=total, note="")
        self._start = time.monotonic()
        self._passed = self._worked = (0, 0)

    def passed(self, rows: int, units: int) -> None:
        """Count rows and units that were already labelled."""
        self._passed = (self._passed[0] + rows, self._passed[1] + units)
        if self._worked == (0, 0):
            self._start = time.monotonic()
            self._show(float(self._passed[0]), float(self._passed[1]), "already done")

    def finished(self, rows: int, units: int) -> None:
        """Count rows and units that are now labelled."""
        self.working(rows, units, 1.0)
        self._worked = (self._worked[0] + rows, self._worked[1] + units)

    def working(self, rows: int, units: int, part: float) -> None:
        """Show that a part, from 0 to 1, of these further rows and units is labelled."""
        seconds = max(time.monotonic() - self._start, 1e-9)
        n_rows, n_units = self._worked[0] + part * rows, self._worked[1] + part * units
        all_units = self._passed[1] + n_units
        left = (self._total - all_units) * seconds / max(n_units, 1)
        note = f"{n_rows / seconds:,.1f} rows/s, left {timedelta(seconds=round(left))}"
        self._show(self._passed[0] + n_rows, all_units, note)

    def _show(self, rows: float, units: float, note: str) -> None:
        if self._progress is not None:
            self._progress.update(self._task, completed=units, note=f"{rows:,.0f} rows, {note}")


@contextmanager
def metered(console: Console | None, total: int) -> Iterator[Meter]:
    """A meter on a console; without one, or where it is no terminal, nothing is drawn."""
    if console is None or not console.is_terminal:
        yield Meter(None, total)
        return
    with Progress(
        TextColumn("labels"), BarColumn(), TextColumn("{task.fields[note]}", markup=False), console=console
    ) as progress:
        yield Meter(progress, total)
