"""A process that is told to stop ends within seconds, with one paragraph and the exit code of the signal."""

import os
import signal
import sys
import time

import pytest

from ensemw2s.stopping import stops_cleanly

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
PARAGRAPH = (
    "Stopped; everything finished is kept in runs/a and the store. Resume with: ensemw2s run $'a\\x1b[31m\\nb.yaml'\n"
)


def work(how: str) -> None:
    sys.argv = ["ensemw2s", "run", "a\x1b[31m\nb.yaml"]
    with stops_cleanly(), stops_cleanly("runs/a and the store"):
        try:
            print("ready", flush=True)
            time.sleep(60)
        except BaseException:
            if how == "lost":
                time.sleep(60)
            if how == "other":
                raise ValueError("what a library makes of it") from None
            raise
        finally:
            if how == "slow":
                time.sleep(60)
            print("put away")


def forked(how: str, ignored: tuple[int, ...], out: int, err: int) -> int:
    """The id of a child that works; a fork has the libraries, and needs no seconds to import them."""
    pid = os.fork()
    if pid:
        return pid
    try:
        for number in CODES:
            signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)
        sys.stdout, sys.stderr = os.fdopen(out, "w"), os.fdopen(err, "w")
        os.dup2(err, 2)
        work(how)
    finally:
        os._exit(99)


def stopped(numbers: list[int], how: str = "", ignored: tuple[int, ...] = ()) -> tuple[int, str, str, float]:
    """Exit code, outputs and seconds of a child that gets these signals."""
    (out, to_out), (err, to_err) = os.pipe(), os.pipe()
    pid = forked(how, ignored, to_out, to_err)
    os.close(to_out)
    os.close(to_err)
    with os.fdopen(out) as said, os.fdopen(err) as complained:
        assert said.readline() == "ready\n"
        start = time.monotonic()
        for number in numbers:
            os.kill(pid, number)
            time.sleep(0.05)
        texts = said.read(), complained.read()
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status), *texts, time.monotonic() - start


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize("times", [1, 3])
def test_a_signal_and_its_repetition_end_in_one_paragraph(number, times):
    code, out, err, _ = stopped([number] * times)
    assert (code, out, err) == (CODES[number], "put away\n", PARAGRAPH)


def test_what_a_library_makes_of_the_interruption_does_not_matter():
    assert stopped([signal.SIGTERM], "other")[:3] == (143, "put away\n", PARAGRAPH)


@pytest.mark.parametrize("how", ["lost", "slow"])
def test_what_keeps_a_process_from_ending_is_not_waited_for(how):
    code, _, err, seconds = stopped([signal.SIGINT, signal.SIGTERM], how)
    assert (code, err) == (130, PARAGRAPH)
    assert seconds < 20  # 2.5 on a machine that has nothing else to do


def test_a_signal_that_was_ignored_stays_so():
    code, _, err, _ = stopped([signal.SIGHUP, signal.SIGTERM], ignored=(signal.SIGHUP,))
    assert (code, err) == (143, PARAGRAPH)
