"""The run log: what is written survives crashes, and seconds, work and tokens add up over resumed runs."""

import io
import json
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from ensemw2s.errors import RunError
from ensemw2s.pipeline import run_log
from ensemw2s.pipeline.run_folder import EVENTS, TIMING, read_timing
from ensemw2s.pipeline.run_log import Journal, read_events
from ensemw2s.storage.store import Artifact, Store

KEYS = ("ab" * 32, "cd" * 32)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def clock(monkeypatch):
    """clock(10.0, 12.5) sets what the monotonic clock says next."""

    def set_clock(*seconds: float) -> None:
        times = iter(seconds)
        monkeypatch.setattr(run_log, "time", SimpleNamespace(monotonic=lambda: next(times), time=time.time))

    return set_clock


def one_stage(run_dir, store: Store, key: str, stage: str = "experts", tokens: int = 0) -> Journal:
    """One process's part of a run: a stage that needs one artifact."""
    log = Journal(run_dir)
    log.tokens_read["tiny"] += tokens
    with log.stage(stage, store, total=1) as advance:
        store.memo("things", key, lambda: Artifact({}, {"a": 1}))
        advance(1)
    return log


def test_events_are_read_in_the_order_in_which_they_were_written(tmp_path):
    log = Journal(tmp_path)
    log.event("first", seed=3)
    log.event("second")
    first, second = read_events(tmp_path)
    assert (first["event"], first["seed"], second["event"]) == ("first", 3, "second")
    assert first["time"] <= second["time"]


def test_a_run_without_a_log_has_no_events(tmp_path):
    assert read_events(tmp_path) == []


def test_a_line_that_a_crash_tore_is_left_out_and_takes_no_other_with_it(tmp_path):
    Journal(tmp_path).event("first")
    with (tmp_path / EVENTS).open("a") as file:
        file.write('{"event": "torn')
    assert [e["event"] for e in read_events(tmp_path)] == ["first"]
    Journal(tmp_path).event("second")
    assert [e["event"] for e in read_events(tmp_path)] == ["first", "second"]


@pytest.mark.parametrize("line", [b"[1, 2]", b"\xff\xfe", b"", b"null", b"[" * 100_000])
def test_a_line_that_is_no_event_is_left_out(tmp_path, line):
    Journal(tmp_path).event("first")
    with (tmp_path / EVENTS).open("ab") as file:
        file.write(line + b"\n")
    Journal(tmp_path).event("second")
    assert [e["event"] for e in read_events(tmp_path)] == ["first", "second"]


def test_a_stage_counts_its_seconds_and_tells_new_work_from_reused(tmp_path, store, clock):
    clock(10.0, 12.5, 20.0, 20.5)
    one_stage(tmp_path / "store", store, KEYS[0])
    (tmp_path / "run").mkdir()
    one_stage(tmp_path / "run", store, KEYS[0])
    [stage] = read_timing(tmp_path / "run").stages
    assert (stage.stage, stage.seconds, stage.computed, stage.reused) == ("experts", 0.5, 0, 1)


def test_a_finished_stage_is_an_event_with_the_timing_so_far(tmp_path, store):
    log = one_stage(tmp_path, store, KEYS[0])
    started, finished = read_events(tmp_path)
    assert (started["event"], finished["event"]) == ("stage_started", "stage_finished")
    assert finished["stage"] == "experts"
    assert finished["timing"] == json.loads((tmp_path / TIMING).read_text()) == log.saved.model_dump(mode="json")


def test_a_stage_that_fails_leaves_its_start_in_the_log_and_no_timing(tmp_path, store):
    with pytest.raises(ZeroDivisionError), Journal(tmp_path).stage("experts", store, total=1):
        raise ZeroDivisionError
    assert [e["event"] for e in read_events(tmp_path)] == ["stage_started"]
    assert not (tmp_path / TIMING).exists()


def test_seconds_work_and_tokens_add_up_over_resumes(tmp_path, store, clock):
    clock(10.0, 12.5, 100.0, 101.0)
    one_stage(tmp_path, store, KEYS[0], tokens=30)
    one_stage(tmp_path, store, KEYS[1], tokens=12)
    timing = read_timing(tmp_path)
    [stage] = timing.stages
    assert (stage.seconds, stage.computed, stage.reused) == (3.5, 2, 0)
    assert (timing.total_seconds, timing.tokens_read) == (3.5, {"tiny": 42})


def test_reused_units_count_those_of_the_last_run_alone(tmp_path, store):
    for _ in range(3):
        one_stage(tmp_path, store, KEYS[0])
    [stage] = read_timing(tmp_path).stages
    assert (stage.computed, stage.reused) == (1, 1)


@pytest.mark.parametrize("damage", [b"", b"{", b'{"stages": 3}', b"\xff"])
def test_a_damaged_timing_falls_back_to_the_newest_whole_one_in_the_log(tmp_path, store, clock, damage):
    clock(0.0, 2.0, 10.0, 13.0, 20.0, 24.0)
    one_stage(tmp_path, store, KEYS[0])
    one_stage(tmp_path, store, KEYS[0])
    Journal(tmp_path).event("stage_finished", stage="labels", timing={"stages": "damaged"})
    (tmp_path / TIMING).write_bytes(damage)
    one_stage(tmp_path, store, KEYS[0])
    assert read_timing(tmp_path).total_seconds == 2.0 + 3.0 + 4.0


def test_who_removes_the_timing_counts_anew(tmp_path, store, clock):
    clock(0.0, 2.0, 10.0, 13.0)
    one_stage(tmp_path, store, KEYS[0])
    (tmp_path / TIMING).unlink()
    one_stage(tmp_path, store, KEYS[0])
    assert read_timing(tmp_path).total_seconds == 3.0


def test_a_damaged_timing_and_a_log_without_one_start_from_nothing(tmp_path, store, clock):
    clock(0.0, 2.0)
    (tmp_path / TIMING).write_bytes(b"{")
    (tmp_path / EVENTS).write_text('{"event": "started"}\n')
    one_stage(tmp_path, store, KEYS[0])
    assert read_timing(tmp_path).total_seconds == 2.0


def test_a_folder_that_is_gone_is_an_error_with_its_name(tmp_path):
    log = Journal(tmp_path / "gone")
    with pytest.raises(RunError, match="gone"):
        log.event("first")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_is_shown_on_a_terminal_and_in_a_log(tmp_path, store, is_terminal):
    screen = io.StringIO()
    log = Journal(tmp_path, console=Console(file=screen, force_terminal=is_terminal))
    with log.stage("experts", store, total=1) as advance:
        advance(1)
    shown = screen.getvalue()
    assert "experts" in shown
    assert ("\x1b[" in shown) == is_terminal
