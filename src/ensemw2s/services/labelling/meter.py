"""How far a labelling is: rows, rows per second, and the share of the file."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from ensemw2s.meter import Advance, metered


class Meter:
    """Rows and units (bytes or rows of the file) so far. Rows labelled by an earlier process do not count as speed."""

    def __init__(self) -> None:
        self.advance: Advance = lambda n: None
        """Told of further units."""
        self._rows = self._units = 0
        self._shown = self._n_rows = self._worked = 0.0
        self._start = time.monotonic()

    @property
    def note(self) -> str:
        """Rows so far, and how fast they come."""
        rows = f"{self._n_rows:,.0f} rows"
        if not self._worked:
            return rows
        return f"{rows}, {self._worked / max(time.monotonic() - self._start, 1e-9):,.1f}/s"

    def passed(self, rows: int, units: int) -> None:
        """Count rows and units that were already labelled."""
        self._rows, self._units = self._rows + rows, self._units + units
        self._show(float(self._rows), float(self._units))
        if not self._worked:
            self._start = time.monotonic()

    def working(self, rows: int, units: int, part: float) -> None:
        """Show that a part, from 0 to 1, of these further rows and units is labelled."""
        before = self._n_rows
        self._show(self._rows + part * rows, self._units + part * units)
        self._worked += max(self._n_rows - before, 0.0)

    def finished(self, rows: int, units: int) -> None:
        """Count rows and units that are now labelled."""
        self.working(rows, units, 1.0)
        self._rows, self._units = self._rows + rows, self._units + units

    def _show(self, rows: float, units: float) -> None:
        further = int(units - self._shown)
        self._n_rows, self._shown = rows, self._shown + further
        self.advance(further)


@contextmanager
def labels_metered(console: Console | None, total: int) -> Iterator[Meter]:
    """A meter on a console; without one nothing is shown.

    Args:
        total: of the whole file, in units.
    """
    meter = Meter()
    with metered(console, "labels", total, lambda: meter.note) as meter.advance:
        yield meter
