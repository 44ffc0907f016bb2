"""Ending a command on a signal: within seconds, with one message, without losing finished work."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from ensemw2s.text import shell_line, visible

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE = 2.5
"""Seconds for clean-up after a signal. Then the process exits at once; finished work is on disk."""


@contextlib.contextmanager
def stops_cleanly(where: str | None = None) -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into one paragraph that says how to go on, and exit code 128 plus the signal's.

    The first signal ends the work; further ones have no effect. A signal that was ignored when the process was
    started (`nohup`) stays so.

    Args:
        where: place of the finished work, for the message; None for commands that keep none.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stop = _Stop(where)
    with handlers_kept() as before:
        for number in before:
            signal.signal(number, stop)
        try:
            yield
        except KeyboardInterrupt:
            if stop.number is None:  # raised, and no signal
                sys.stderr.write(_words(where))
                raise SystemExit(128 + signal.SIGINT) from None
            raise
        finally:
            if stop.number is None:
                stop.over()
            else:  # whatever became of the exception on its way
                for stream in (sys.stdout, sys.stderr):
                    with contextlib.suppress(OSError, ValueError):
                        stream.flush()
                stop.leave()


@contextlib.contextmanager
def handlers_kept() -> Iterator[dict[int, Any]]:
    """Restore the signal handlers afterwards, whatever changed them; yields those that were not ignored."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    before: dict[int, Any] = {n: handler for n, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}
    try:
        yield before
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def is_stopping() -> bool:
    """Whether a signal has told this process to stop; it will exit even if the exception is caught."""
    stops = [handler for number in SIGNALS if isinstance(handler := signal.getsignal(number), _Stop)]
    return any(stop.number is not None for stop in stops)


class _Stop:
    """A signal handler, with a thread that ends the process where the exception does not."""

    def __init__(self, where: str | None):
        self._where, self._pid = where, os.getpid()
        self.number: int | None = None
        """Number of the first signal; None before it."""
        self._heard, self._leaving = threading.Event(), threading.Lock()
        threading.Thread(target=self._watch, daemon=True).start()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a forked child ends as children do
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif self.number is None:
            self.number = number
            self._heard.set()
            # Libraries in C know this one and hand it on; of another kind they make a line on standard error.
            raise KeyboardInterrupt

    def over(self) -> None:
        """There is nothing to stop any more."""
        self._heard.set()

    def leave(self) -> None:
        """End the process with one paragraph, and without the farewells of libraries, which take seconds."""
        assert self.number is not None
        if self._leaving.acquire(blocking=False):
            if os.environ.get("RANK", "0") == "0":  # of the processes of one launch, one speaks
                line = ("\n" if os.isatty(2) else "") + _words(self._where)
                with contextlib.suppress(OSError):  # of a terminal that is gone
                    os.write(2, line.encode(errors="backslashreplace"))
            os._exit(128 + self.number)

    def _watch(self) -> None:
        self._heard.wait()
        if self.number is not None:
            # The exception can be lost (in a callback of a library), or wait for something that does not come back.
            time.sleep(GRACE)
            self.leave()


def _words(where: str | None) -> str:
    kept = "nothing is left half done" if where is None else f"everything finished is kept in {where}"
    return f"Stopped; {visible(kept)}. Resume with: {shell_line(['ensemw2s', *sys.argv[1:]])}\n"
