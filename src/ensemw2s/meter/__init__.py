"""How far work is, for whoever waits: bars on a terminal and in a notebook, a line every so often elsewhere.

Work is done deep down (a batch of a trunk's pass, a step of a training), and nothing between that and a command should
pass a display on. So whoever works says so with `working`, and the display of `metered` around it, if any, shows it.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar

from rich.console import Console

from ensemw2s.meter.count import Count
from ensemw2s.meter.displays import Advance, Bars, Cell, Lines

__all__ = ["Advance", "Count", "metered", "watched", "working"]

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
    kind = Cell if console.is_jupyter else Bars if console.is_interactive else Lines
    display = kind(console)
    with display.stage(Count(name, total=total, note=note)) as advance, watched(display.within):
        yield advance
