"""How far work is, for whoever waits: bars on a terminal and in a notebook, a line every so often elsewhere.

Work is done deep down (a batch of a trunk's pass, a step of a training), and nothing between that and a command should
pass a display on. So whoever works says so with `working`, and the display of `metered` around it, if any, shows it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.util import find_spec

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from ensemw2s.screen import say

Advance = Callable[[int], None]
"""Told of so many further units that are done."""

PATIENCE = 0.3
"""Seconds after which a piece of work is shown at all; most take less."""
EVERY = 0.1
"""Seconds between two moves of its bar."""
FIRST_LINE, LONGEST = 5.0, 60.0
"""Seconds to a stage's first line where nothing can be drawn; each further one takes twice as long, up to a minute."""
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


Watch = Callable[[Count], AbstractContextManager[Advance]]
_watches: ContextVar[tuple[Watch, ...]] = ContextVar("watches", default=())


@contextmanager
def working(what: str, unit: str, total: int | None) -> Iterator[Advance]:
    """Say what is worked at; yields what is to be told of each further part that is done."""
    with ExitStack() as stack:
        told = [stack.enter_context(watch(Count(what, unit, total))) for watch in _watches.get()]

        def advance(n: int) -> None:
            for each in told:
                each(n)

        yield advance


@contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Let `watch`, too, see what is worked at within this context."""
    token = _watches.set((*_watches.get(), watch))
    try:
        yield
    finally:
        _watches.reset(token)


@contextmanager
def metered(
    console: Console | None, name: str, total: int | None = None, note: Callable[[], str] | None = None
) -> Iterator[Advance]:
    """Show a stage of work on a console, and what is worked at within it; None shows nothing.

    Args:
        total: units of the whole stage; one that ends with fewer was done with fewer.
        note: says how much is done, in the place of numbers of units.
    """
    if console is None:
        yield lambda n: None
        return
    display = _Bars(console) if _can_draw(console) else _Lines(console)
    with display.stage(Count(name, total=total, note=note)) as advance, watched(display.within):
        yield advance


def _can_draw(console: Console) -> bool:
    # In a notebook rich draws with widgets; without these it would draw nothing.
    return console.is_interactive or (console.is_jupyter and find_spec("ipywidgets") is not None)


class _Bars:
    """Bars that move."""

    def __init__(self, console: Console):
        text = TextColumn("{task.description}", markup=False, table_column=Column(width=24, no_wrap=True))
        self._progress = Progress(
            text, BarColumn(bar_width=16), _Amount(Column(min_width=20)), _Clock(), console=console
        )

    @contextmanager
    def stage(self, count: Count) -> Iterator[Advance]:
        with self._progress as progress:
            task = progress.add_task(count.what, total=count.total, count=count)

            def advance(n: int) -> None:
                count.add(n)
                progress.update(task, completed=count.done)

            yield advance
            count.total = None
            progress.update(task, completed=1, total=1)

    @contextmanager
    def within(self, count: Count) -> Iterator[Advance]:
        progress, task, due = self._progress, None, count.started + PATIENCE

        def advance(n: int) -> None:
            nonlocal task, due
            count.add(n)
            if (now := time.monotonic()) < due:
                return
            if task is None:
                task = progress.add_task(f"  {count.what}", total=count.total, count=count)
            progress.update(task, completed=count.done)
            due = now + EVERY

        try:
            yield advance
        finally:
            if task is not None:
                progress.remove_task(task)


class _Amount(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(task.fields["count"].amount)


class _Clock(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(task.fields["count"].clock, style="dim")


class _Lines:
    """A line now and then, for logs and pipes; and one at the end of a stage."""

    def __init__(self, console: Console):
        self._console = console
        self._counts: list[Count] = []
        self._wait, self._due = FIRST_LINE, time.monotonic() + FIRST_LINE

    @contextmanager
    def stage(self, count: Count) -> Iterator[Advance]:
        with self.within(count) as advance:
            yield advance
            count.total = None
            self._say()

    @contextmanager
    def within(self, count: Count) -> Iterator[Advance]:
        self._counts.append(count)

        def advance(n: int) -> None:
            count.add(n)
            if (now := time.monotonic()) >= self._due:
                self._say()
                self._wait = min(2 * self._wait, LONGEST)
                self._due = now + self._wait

        try:
            yield advance
        finally:
            self._counts.remove(count)

    def _say(self) -> None:
        stage, *inner = self._counts
        parts = [stage.amount, *(f"{each.what} {each.amount}" for each in inner), (inner or [stage])[-1].clock]
        say(self._console, f"{stage.what}: {', '.join(part for part in parts if part)}")


def _short(number: int) -> str:
    if number < 100_000:
        return f"{number:,}"
    return f"{number / 1e6:.1f}M" if number >= 1_000_000 else f"{number / 1e3:.0f}k"


def _time(seconds: float) -> str:
    """As 0:05, 1:02:03 or 2 days, 3:00:00."""
    text = str(timedelta(seconds=round(seconds)))
    return text.removeprefix("0:").removeprefix("0") if text.startswith("0:0") else text.removeprefix("0:")
