"""Displays of work: bars on a terminal, one in a notebook's output, and lines in a log.

Each shows a stage, and what is worked at within it. `stage` and `within` yield what is told of so many further units.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from ensemw2s.meter.count import Count
from ensemw2s.screen import say

Advance = Callable[[int], None]
"""Told of so many further units that are done."""

PATIENCE = 0.3
"""Seconds after which a piece of work is shown at all; most take less."""
EVERY = 0.1
"""Seconds between two moves of its bar."""
FIRST_LINE, LONGEST = 5.0, 60.0
"""Seconds to a stage's first line where nothing can be drawn; each further one takes twice as long, up to a minute."""


class Bars:
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


class _Said:
    """A display that says now and then how far all is that goes on, and once more at the end of a stage."""

    def __init__(self, first: float):
        self._counts: list[Count] = []
        self._due = time.monotonic() + first

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
                self._due = now + self._pause()

        try:
            yield advance
        finally:
            self._counts.remove(count)

    def _say(self) -> None:
        raise NotImplementedError

    def _pause(self) -> float:
        """Seconds until the next time."""
        return EVERY


class Cell(_Said):
    """A line with a bar in a notebook's output, which the file of the notebook keeps as it was last.

    It is shown by IPython's own displays, that can be updated, and not by widgets: these need another package, and a
    notebook that is read without its kernel shows nothing of them.
    """

    def __init__(self, console: Console):
        super().__init__(PATIENCE)

    @contextmanager
    def stage(self, count: Count) -> Iterator[Advance]:
        from IPython.display import display  # pyright: ignore[reportMissingImports]  # every notebook has it

        self._handle = display(_as_html([count]), raw=True, display_id=True)
        with super().stage(count) as advance:
            yield advance

    def _say(self) -> None:
        assert self._handle is not None, "what is shown has begun"
        self._handle.update(_as_html(self._counts), raw=True)


def _as_html(counts: Sequence[Count]) -> dict[str, str]:
    """A line as HTML, with a bar for each count of which the total is known, and as text."""
    parts = []
    for count in counts:
        bar = f'<progress value="{count.done}" max="{count.total}"></progress> ' if count.total else ""
        parts.append(f"{escape(count.what)} {bar}{escape(count.amount)}")
    line = " &nbsp; ".join([*parts, counts[-1].clock])
    return {"text/html": f"<div>{line}</div>", "text/plain": described(counts)}


class Lines(_Said):
    """A line now and then, for logs and pipes; and one at the end of a stage."""

    def __init__(self, console: Console):
        super().__init__(FIRST_LINE)
        self._console, self._wait = console, FIRST_LINE

    def _say(self) -> None:
        say(self._console, described(self._counts))

    def _pause(self) -> float:
        self._wait = min(2 * self._wait, LONGEST)
        return self._wait


def described(counts: Sequence[Count]) -> str:
    """A stage and what is worked at within it in words: experts: 0/4, training 250/10,000 steps, 0:05, 3:15 left."""
    stage, *inner = counts
    parts = [stage.amount, *(f"{each.what} {each.amount}" for each in inner), counts[-1].clock]
    return f"{stage.what}: {', '.join(part for part in parts if part)}"
