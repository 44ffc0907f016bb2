"""How much of a piece of work is done, and how long it has taken and will take."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

WARM_UP, WINDOW = 1.0, 60.0
"""The time left follows the pace of the last minute or two, without the first second: in it passes what a store has."""


@dataclass
class Count:
    """How much of a piece of work is done, and since when."""

    what: str
    unit: str = ""
    total: int | None = None
    note: Callable[[], str] | None = None
    """Says how much instead of the numbers."""
    done: int = 0
    started: float = field(default_factory=lambda: time.monotonic())

    def __post_init__(self) -> None:
        self._is_warm = False
        self._marks = [(self.started, 0)]

    def add(self, n: int) -> None:
        """So many further units are done."""
        self.done += n
        now, (last, before) = time.monotonic(), self._marks[-1]
        if not self._is_warm and now - last >= WARM_UP:
            self._is_warm, self._marks = True, [(now, self.done)]
        elif self._is_warm and now - last >= WINDOW and self.done > before:
            self._marks = [self._marks[-1], (now, self.done)]

    @property
    def amount(self) -> str:
        """So many of so many units."""
        if self.note is not None:
            return self.note()
        if self.total is None and not self.done:
            return ""
        return f"{_short(self.done)}{'' if self.total is None else f'/{_short(self.total)}'} {self.unit}".rstrip()

    @property
    def clock(self) -> str:
        """Time gone, and time left where it can be told."""
        left = self.left
        return _time(time.monotonic() - self.started) + ("" if left is None else f", {_time(left)} left")

    @property
    def left(self) -> float | None:
        """Seconds until all is done, by the pace of late; None where that cannot be told."""
        began, had = self._marks[0]
        if not self._is_warm or self.total is None or not had < self.done < self.total:
            return None
        return (self.total - self.done) * (time.monotonic() - began) / (self.done - had)


def _short(number: int) -> str:
    if number < 100_000:
        return f"{number:,}"
    return f"{number / 1e6:.1f}M" if number >= 1_000_000 else f"{number / 1e3:.0f}k"


def _time(seconds: float) -> str:
    """As 0:05, 1:02:03 or 2 days, 3:00:00."""
    text = str(timedelta(seconds=round(seconds)))
    return text.removeprefix("0:").removeprefix("0") if text.startswith("0:0") else text.removeprefix("0:")
