"""How far work is: what a terminal shows, what a log shows, and how long is left."""

import io
import re
import sys
import time
from types import ModuleType, SimpleNamespace

import pytest
from rich.console import Console

from ensemw2s.meter import Count, count, displays, metered, working
from ensemw2s.screen import Screen


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still: clock(5) sets it forward."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def forward(seconds: float) -> None:
        now[0] += seconds

    return forward


def log() -> Console:
    return Console(file=io.StringIO(), width=80)


def lines(console: Console) -> list[str]:
    return console.file.getvalue().splitlines()


def test_without_a_display_telling_changes_nothing():
    with metered(None, "experts", 3) as advance, working("training", "steps", 10) as step:
        step(1)
        advance(1)


def test_a_log_gets_a_line_ever_more_seldom_and_one_at_the_end(clock):
    console = log()
    with metered(console, "experts", 4) as advance, working("training", "steps", 10_000) as step:
        for _ in range(200):
            clock(1)
            step(50)
        advance(1)
    assert lines(console) == [
        "experts: 0/4, training 250/10,000 steps, 0:05, 3:15 left",
        "experts: 0/4, training 750/10,000 steps, 0:15, 3:05 left",
        "experts: 0/4, training 1,750/10,000 steps, 0:35, 2:45 left",
        "experts: 0/4, training 3,750/10,000 steps, 1:15, 2:05 left",
        "experts: 0/4, training 6,750/10,000 steps, 2:15, 1:05 left",
        "experts: 0/4, training 9,750/10,000 steps, 3:15, 0:05 left",
        "experts: 1, 3:20",
    ]


def test_a_stage_that_fails_says_nothing_more_and_is_forgotten(clock):
    console = log()
    with pytest.raises(ZeroDivisionError), metered(console, "experts", 4):
        raise ZeroDivisionError
    with working("training", "steps", 1) as step:
        clock(100)
        step(1)
    assert lines(console) == []


def test_the_time_left_does_not_count_what_was_found_at_once(clock):
    """Ten of twenty units are in the store; each of the others takes a minute."""
    console = log()
    with metered(console, "students", 20) as advance:
        advance(10)
        clock(1)
        advance(0)
        left = []
        for done in range(1, 10):
            clock(60)
            advance(1)
            left.append((lines(console)[-1], 10 - done))
    for line, n in left:
        minutes, seconds = re.search(r"(\d+):(\d\d) left", line).groups()
        assert int(minutes) * 60 + int(seconds) == n * 60


def test_the_time_left_follows_a_change_of_pace(clock):
    experts = Count("experts", total=10_000)
    for seconds in [1] * 1000 + [10] * 30:
        clock(seconds)
        experts.add(1)
    assert experts.clock.endswith(f", {count._time((10_000 - 1030) * 10.0)} left")


@pytest.mark.parametrize(
    ("seconds", "text"), [(5.0, "0:05"), (754.0, "12:34"), (3723.0, "1:02:03"), (2 * 86400 + 60.0, "2 days, 0:01:00")]
)
def test_times_are_short(seconds, text):
    assert count._time(seconds) == text


def test_a_terminal_gets_a_bar_of_the_stage_and_of_what_is_worked_at_within_80_columns(monkeypatch):
    monkeypatch.setattr(displays, "PATIENCE", 0.0)
    console = Console(file=io.StringIO(), force_terminal=True, width=80, _environ={"TERM": "xterm"})
    with metered(console, "prepare") as advance:
        with working("a-model-of-a-name-that-is-long reads", "tokens", 3_000_000) as read:
            read(1_200_000)
            console.print("a warning between the bars")
        advance(1)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())
    drawn = [line.rstrip() for line in re.split(r"[\r\n]+", shown) if line.strip()]
    assert any("reads" not in line and "a-model-of-a-name" in line and "1.2M/3.0M tokens" in line for line in drawn)
    assert max(map(len, drawn)) <= 80
    assert drawn[-1].startswith("prepare")
    assert "a-model" not in drawn[-1]


def test_short_work_is_not_shown(clock):
    console = Console(file=io.StringIO(), force_terminal=True, width=80, _environ={"TERM": "xterm"})
    with metered(console, "experts", 2) as advance:
        for _ in range(2):
            with working("evaluating", "examples", 100) as each:
                each(100)
            advance(1)
    assert "evaluating" not in console.file.getvalue()


def test_a_notebook_gets_one_line_a_stage_that_moves_and_stays_as_it_was_last(clock, monkeypatch):
    shown = []
    ipython = ModuleType("IPython.display")

    def display(data, *, raw, display_id):
        assert raw
        assert display_id
        shown.append([data])
        return SimpleNamespace(update=lambda data, *, raw: shown[-1].append(data))

    ipython.display = display
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", ipython)
    console = Console(file=io.StringIO(), force_jupyter=True)
    with metered(console, "experts", 2) as advance:
        with working("<a model> reads", "tokens", 1000) as read:
            clock(1)
            read(400)
        clock(1)
        advance(2)
    [(first, moving, *_, last)] = shown
    assert first["text/plain"] == "experts: 0/2, 0:00"
    assert moving["text/plain"] == "experts: 0/2, <a model> reads 400/1,000 tokens, 0:01"
    assert '&lt;a model&gt; reads <progress value="400" max="1000"></progress> 400/1,000 tokens' in moving["text/html"]
    assert last["text/plain"] == "experts: 2, 0:02"
    assert "<progress" not in last["text/html"]


def test_a_command_that_a_notebook_starts_draws_no_bars_though_colours_are_forced(clock, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    screen = Screen(file=io.StringIO())
    with metered(screen, "predict"):
        clock(2)
    assert "".join(lines(screen)) == "predict: 0:02"
