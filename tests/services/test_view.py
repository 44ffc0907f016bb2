"""The viewer: what it says of a folder's runs, what it shows to whom, and that it leaves no trace."""

import http.client
import json
import os
import shutil
import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from ensemw2s.config import parse_config
from ensemw2s.errors import ConfigError, DataError, RunError
from ensemw2s.pipeline import run as runner
from ensemw2s.pipeline.run import run, train
from ensemw2s.pipeline.run_folder import PROGRESS
from ensemw2s.report.viewer import comparison_part, overview_tables
from ensemw2s.results.overview import RunOverview
from ensemw2s.results.progress import Progress, Work
from ensemw2s.services.viewing.overview import Folder
from ensemw2s.services.viewing.server import make_server
from ensemw2s.storage.locks import is_locked, run_lock
from tiny_run import comparison_rows, merged, tiny_tree, write_jsonl

SMALL = {"ensemble": {"methods": ["single"]}, "students": {"recipes": [{}]}}


def config_of(root: Path, **changes):
    return parse_config(merged(merged(tiny_tree(root / "q.jsonl"), SMALL), changes))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A finished run; its store lies beside."""
    root = tmp_path_factory.mktemp("viewed")
    write_jsonl(root / "q.jsonl", comparison_rows())
    run(config_of(root), root / "runs" / "a", store_root=root / "store")
    return root


@pytest.fixture
def place(made, tmp_path) -> Path:
    """A folder of its own with that run."""
    shutil.copytree(made / "runs", tmp_path / "runs")
    return tmp_path / "runs"


def runs_of(folder: Path) -> dict[str, RunOverview]:
    return {run.folder: run for run in Folder(folder).overview().runs}


@contextmanager
def served(folder: Path, host: str = "127.0.0.1"):
    """get(path, method=, host=) -> (status, headers, body)"""
    with make_server(folder, host, 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()

        def get(path: str, method: str = "GET", host: str | None = None):
            connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=20)
            connection.putrequest(method, path, skip_host=host is not None)
            if host is not None:
                connection.putheader("Host", host)
            connection.endheaders()
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()

        try:
            yield get
        finally:
            server.shutdown()
            thread.join()


def every_file(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def test_a_finished_run_shows_the_figures_of_its_results(place):
    from ensemw2s.pipeline.run_folder import read_results

    results = read_results(place / "a")
    (found,) = Folder(place).overview().runs
    assert (found.folder, found.name, found.task, found.seeds) == ("a", "tiny", "files", (0, 1))
    assert (found.state, found.progress) == ("finished", None)
    assert not (place / "a" / PROGRESS).exists()
    used = results.row(results.recommendation.rival or results.recommendation.row)
    assert found.headline.verdict == results.recommendation.headline
    assert found.headline.used == used.parts["ood_test"]["accuracy"].interval
    assert found.headline.on_easy == results.row("strong_on_easy").parts["ood_test"]["accuracy"].interval
    assert found.headline.ceiling == results.row("ceiling").parts["ood_test"]["accuracy"].interval


def test_a_run_under_way_says_what_it_does_and_how_far_it_is(made, tmp_path, monkeypatch):
    """Looked at from within a stage of a real run, by its own records alone."""
    seen = []
    real = runner.train_students

    def looking(work):
        for made_of_it in real(work):
            yield made_of_it
            seen.append(runs_of(tmp_path)["b"])

    monkeypatch.setattr(runner, "train_students", looking)
    monkeypatch.setattr("ensemw2s.pipeline.progress.EVERY_S", 0.0)
    run(config_of(made, name="second"), tmp_path / "b", store_root=made / "store")
    assert {each.state for each in seen} == {"running"}
    assert {each.name for each in seen} == {"second"}
    assert [each.progress.work[0].what for each in seen] == ["students"] * len(seen)
    done = [each.progress.work[0].done for each in seen]
    assert done == list(range(1, len(seen) + 1))
    assert seen[0].progress.work[0].total == len(seen)
    assert runs_of(tmp_path)["b"].state == "finished"


def test_a_killed_run_is_never_said_to_run(made, tmp_path, monkeypatch):
    """Its last words are that it trains; the lock that the kernel took back says that it does not."""
    config = config_of(made, name="third")
    read, written = os.pipe()

    def hanging(work):
        os.write(written, b"!")
        time.sleep(600)
        yield

    monkeypatch.setattr(runner, "train_students", hanging)
    if (child := os.fork()) == 0:
        try:
            run(config, tmp_path / "c", store_root=made / "store")
        finally:
            os._exit(1)
    os.close(written)
    assert os.read(read, 1) == b"!"
    assert is_locked(tmp_path / "c")
    assert runs_of(tmp_path)["c"].state == "running"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    found = runs_of(tmp_path)["c"]
    assert (found.state, found.progress.work[0].what) == ("interrupted", "students")
    assert "at students 0/" in overview_tables(Folder(tmp_path).overview())


def test_a_run_that_failed_says_why(made, tmp_path, monkeypatch):
    with pytest.raises(DataError):
        run(config_of(made, split={"n_easy_pool": 100_000}), tmp_path / "refused", store_root=made / "store")

    def broken(*_):
        raise ZeroDivisionError("of a bug")

    monkeypatch.setattr(runner, "evaluate_run", broken)
    with pytest.raises(ZeroDivisionError):
        run(config_of(made), tmp_path / "broken", store_root=made / "store")
    found = runs_of(tmp_path)
    assert {name: each.state for name, each in found.items()} == {"refused": "failed", "broken": "failed"}
    assert "n_easy_pool" in found["refused"].message
    assert found["broken"].message == "of a bug"


def test_figures_that_are_damaged_are_not_shown(place):
    text = (place / "a" / "results.json").read_text()
    (place / "a" / "results.json").write_text(text.replace('"seeds"', '"seeds" ', 1))
    found = runs_of(place)["a"]
    assert (found.state, found.headline) == ("damaged", None)
    assert "damaged" in found.message


def test_what_a_leaderboard_only_trained_is_no_run_and_its_board_is_shown(made, tmp_path):
    train(config_of(made), tmp_path / "boards" / "cells" / "x", store_root=made / "store")
    (tmp_path / "boards" / "leaderboard.json").write_text("{}")
    with run_lock(tmp_path / "boards"):
        overview = Folder(tmp_path).overview()
    assert overview.runs == ()
    (board,) = overview.leaderboards
    assert (board.folder, board.is_running) == ("boards", True)
    assert "damaged" in board.message


def test_looking_changes_nothing_and_reads_again_only_what_changed(place, monkeypatch):
    before = every_file(place)
    folder = Folder(place)
    first = folder.overview()
    monkeypatch.setattr("ensemw2s.services.viewing.overview.read_results", lambda _: pytest.fail("read again"))
    assert folder.overview() == first
    assert every_file(place) == before


def test_a_run_that_begins_while_its_lock_is_looked_at_is_not_refused(tmp_path):
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            is_locked(tmp_path)

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for each in lookers:
        each.start()
    try:
        for _ in range(50):
            with run_lock(tmp_path):
                assert is_locked(tmp_path)
    finally:
        over.set()
        for each in lookers:
            each.join()
    assert not is_locked(tmp_path)
    with run_lock(tmp_path), pytest.raises(RunError, match="another process"), run_lock(tmp_path):
        pass


def test_the_page_its_parts_and_a_report_are_answered(place):
    with served(place) as get:
        status, headers, page = get("/")
        assert (status, headers["Cache-Control"]) == (200, "no-store")
        assert "pages/a/report.html" in page
        assert get("/", "HEAD")[2] == ""
        assert get("/", "HEAD")[1]["Content-Length"] == str(len(page.encode()))
        assert get("/tables")[2] in page
        status, headers, report = get("/pages/a/report.html")
        assert (status, report) == (200, (place / "a" / "report.html").read_text())
        assert headers["Content-Security-Policy"].startswith("sandbox")
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            assert get("/", method)[0] in (405, 501)


def test_a_run_itself_can_be_viewed(place):
    with served(place / "a") as get:
        assert "pages/report.html" in get("/")[2]
        assert get("/pages/report.html")[0] == 200


def test_nothing_else_can_be_read(place, tmp_path):
    """Neither other files of a run, nor anything outside, in whatever way it is written."""
    (tmp_path / "report.html").write_text("secret")
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(place / "a" / "events.jsonl", tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "report.html").write_text("secret")
    (place / "linked").symlink_to(tmp_path / "elsewhere")
    (place / "b").mkdir()
    shutil.copy(place / "a" / "events.jsonl", place / "b")
    (place / "b" / "report.html").symlink_to(tmp_path / "report.html")
    (place / "c").mkdir()
    shutil.copy(place / "a" / "events.jsonl", place / "c")
    os.mkfifo(place / "c" / "report.html")
    outside = [
        *("/../report.html", "/pages/../report.html", "/pages/a/../../report.html", "/pages//etc/passwd"),
        *("/pages/%2e%2e/report.html", "/pages/a%2f..%2f..%2freport.html", "/pages/..%2freport.html"),
        *("/pages/%252e%252e/report.html", f"/pages/{quote(str(tmp_path))}/report.html", "/pages/a/..%00/report.html"),
        *("/pages/linked/report.html", "/pages/b/report.html", "/pages/c/report.html", "/pages/./report.html"),
        *("/pages/a/results.json", "/pages/a/config.yaml", "/pages/a/stages/experts.json", "/pages/a/", "/pages/a"),
        *("/pages/a/student/report.html", "/pages/a\\..\\report.html", "/pages/a/report.html/", "/results.json"),
    ]
    with served(place) as get:
        found = {path: get(path) for path in outside}
        assert {path: status for path, (status, _, _) in found.items() if status != 404} == {}
        assert not any("secret" in body for _, _, body in found.values())
        assert get("/tables")[2].count("pages/") == 1


def test_a_page_of_another_site_cannot_ask(place):
    """A name that an attacker leads here comes as the host; numbers and localhost cannot be another's."""
    with served(place) as get:
        for host in ("evil.example", "evil.example:8765", "localhost.evil.example", "[::1].evil", "", "127.0.0.1@evil"):
            assert get("/tables", host=host)[0] in (400, 421), host
        for host in ("localhost:8765", "127.0.0.1", "[::1]:80"):
            assert get("/tables", host=host)[0] == 200, host


def test_what_runs_say_is_text(tmp_path):
    evil = "<script>alert(1)</script>\x1b[31m"
    folder = tmp_path / "<b>&\"'"
    folder.mkdir()
    event = {"event": "started", "name": evil, "task": evil, "seeds": evil, "time": "now"}
    (folder / "events.jsonl").write_text(json.dumps(event) + "\n" + json.dumps({"event": "failed", "message": evil}))
    page = overview_tables(Folder(tmp_path).overview())
    assert "<script" not in page
    assert "<b>&" not in page
    assert "\x1b" not in page
    assert page.count("&lt;script&gt;") == 4  # the name, and once more to sort by; task; message


def test_runs_side_by_side_are_those_of_compare(made, place):
    from ensemw2s.services.leaderboard.compare import compare_runs

    shutil.copytree(place / "a", place / "b")
    folder = Folder(place)
    folder.overview()
    found = folder.comparison(["a", "b", "a", "../x"])
    expected = compare_runs([place / "a", place / "b"])
    assert [line.accuracy for line in found.lines] == [line.accuracy for line in expected.lines]
    assert found.pairs[0].difference == expected.pairs[0].difference
    assert found.skipped == ("../x",)
    assert folder.comparison(["a"]) is None
    assert "Fewer than two" in comparison_part(None)
    with served(place) as get:
        get("/")
        assert "+0.0 [+0.0, +0.0]" in get("/comparison?run=a&run=b")[2]


def test_how_far_a_run_is_reads_like_the_terminal():
    stage = Work(what="experts", unit="", done=3, total=12, seconds=60.0, left=None)
    within = Work(what="training", unit="steps", done=40, total=120, seconds=5.0, left=200.0)
    progress = Progress(time=time.time(), work=(stage, within))
    run = RunOverview(
        folder="a", name="a", task="t", seeds=(0,), state="running", time=0.0, progress=progress, headline=None
    )
    overview = Folder(Path("/nowhere")).overview().model_copy(update={"runs": (run,)})
    shown = overview_tables(overview)
    assert "experts 3/12, training 40/120 steps, 3 min left" in shown
    assert 'value="25.0"' in shown


def test_where_nobody_can_listen_is_said(place):
    with pytest.raises(ConfigError, match="no such folder"):
        make_server(place / "none", "127.0.0.1", 0)
    with served(place):
        pass
    with make_server(place, "127.0.0.1", 0) as server, pytest.raises(ConfigError, match="cannot listen there"):
        make_server(place, "127.0.0.1", server.server_address[1])
