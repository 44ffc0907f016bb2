"""Workers through Ray: the same labels and figures, whoever dies."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest

from ensemw2s.config import parse_config
from ensemw2s.distributed.cluster import connected
from ensemw2s.errors import RunError
from ensemw2s.export.ensembles.labeller import open_labeller, open_reader
from ensemw2s.pipeline.run import run
from ensemw2s.services.labelling.label_file import label_file
from ensemw2s.services.labelling.ray_engine import RayEngine
from ensemw2s.services.sweeps.ray_runs import run_each
from ensemw2s.services.sweeps.sweep import combinations, run_here, sweep
from test_cli import call
from tiny_run import merged, tiny_tree, tiny_words_tree, write_jsonl

pytestmark = pytest.mark.cluster
N_SHARDS = 8
LOGGED_BY_RAY = re.compile(r"\[\d{4}-\d\d-\d\d ")
"""A line of Ray's core, which it writes by itself where a driver goes while a task's error is under way."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="module")
def ensemble(place, task_file):
    changes = {"seeds": [0], "ensemble": {"n_rounds": 2, "methods": ["bagging"]}}
    tree = merged(tiny_words_tree(task_file), changes) | {"students": {"recipes": [{"labels": "hard"}]}}
    run(parse_config(tree), place / "run", store_root=place / "store")
    return place / "run"


@pytest.fixture(scope="module")
def questions(place):
    rows = [{"id": f"q{i}", "q": f"Is {i} above {i * 7 % 40}?"} for i in range(4 * N_SHARDS)]
    rows[5]["id"] = "q0"  # an error: taken by another row
    rows[9]["q"] = "long " * 400
    return str(write_jsonl(place / "questions.jsonl", rows))


@pytest.fixture(scope="module")
def ray():
    with connected(8, None) as found:
        yield found


@pytest.fixture(scope="module")
def workers(ray, ensemble):
    """Each loads the ensemble once, whichever test asks first."""
    return RayEngine(ray, ensemble, 3).workers


@pytest.fixture
def engine_of(ray, ensemble, workers):
    def make(n):
        engine = RayEngine(ray, ensemble, 0)
        engine.workers = workers[:n]
        return engine

    return make


def files(folder) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.glob("*.jsonl")}


def labelled(reader, source, output, engine=None):
    return label_file(reader, source, output, prompt="{{ q }}", id_column="id", shard_rows=4, engine=engine)


@pytest.fixture(scope="module")
def alone(place, ensemble, questions):
    counts = labelled(open_labeller(ensemble), questions, place / "alone")
    assert (counts.rows, counts.failed, counts.shards) == (4 * N_SHARDS, 2, N_SHARDS)
    return counts, files(place / "alone")


class After:
    """Does something when a number of shards are done."""

    def __init__(self, engine, n, work):
        self.engine, self.n, self.work = engine, n, work

    def label(self, *arguments):
        for i, done in enumerate(self.engine.label(*arguments), start=1):
            if i == self.n:
                self.work()
            yield done


@pytest.mark.parametrize("n", [1, 2, 3])
def test_labels_are_the_same_with_any_number_of_workers(n, engine_of, ensemble, questions, alone, tmp_path):
    engine = engine_of(n)
    counts = labelled(open_reader(ensemble), questions, tmp_path / "out", engine)
    assert (counts, files(tmp_path / "out")) == alone
    assert engine.redone == 0


def test_a_killed_worker_costs_at_most_its_shard(ray, engine_of, ensemble, questions, alone, tmp_path):
    engine = engine_of(2)
    victim = ray.get(engine.workers[0].ready.remote())
    killing = After(engine, 2, lambda: os.kill(victim, signal.SIGKILL))
    assert labelled(open_reader(ensemble), questions, tmp_path / "out", killing) == alone[0]
    assert files(tmp_path / "out") == alone[1]
    assert engine.redone <= 1


def test_a_killed_driver_goes_on_with_either_engine(engine_of, ensemble, questions, alone, tmp_path):
    def die():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        labelled(open_reader(ensemble), questions, tmp_path / "out", After(engine_of(2), 3, die))
    there = files(tmp_path / "out")
    assert 0 < len(there) < len(alone[1])
    assert labelled(open_labeller(ensemble), questions, tmp_path / "out") == alone[0]
    assert files(tmp_path / "out") == alone[1]


def test_without_any_worker_that_can_live_it_ends(ray, engine_of, ensemble, questions, tmp_path):
    @ray.remote
    class Stillborn:
        def __init__(self):
            raise RuntimeError("no such library here")

        def label(self, shard, batch_tokens): ...

        def ready(self): ...

    engine = engine_of(0)
    engine.workers = [Stillborn.remote()]
    with pytest.raises(RunError, match="no worker is left"):
        labelled(open_reader(ensemble), questions, tmp_path / "out", engine)


def test_what_is_wrong_in_a_worker_is_said_as_here(ray, ensemble, questions, tmp_path):
    with pytest.raises(RunError, match="no saved ensemble"):
        labelled(open_reader(ensemble), questions, tmp_path / "out", RayEngine(ray, tmp_path / "nothing", 1))


def test_a_sweep_gives_the_same_runs_and_redoes_none(ray, task_file, tmp_path):
    tree = tiny_tree(task_file)
    tree["ensemble"] = {"n_rounds": 2, "methods": ["single", "boosting"]}
    tree["students"] = {"recipes": [{}]}
    (tmp_path / "tiny.yaml").write_text(json.dumps(tree))
    over = ["seeds=0", "weak.n_layers=2,99"]
    ours = sweep(combinations(tmp_path / "tiny.yaml", [], over, tmp_path / "here"), run_here)
    jobs = combinations(tmp_path / "tiny.yaml", [], over, tmp_path / "there")
    theirs = sweep(jobs, lambda todo: run_each(ray, todo, 2))
    assert [each.state for each in ours] == [each.state for each in theirs] == ["done", "failed"]
    assert ours[1].reason == theirs[1].reason
    assert "99" in ours[1].reason
    for a, b in zip(ours, theirs, strict=True):
        assert a.folder.name == b.folder.name
        if a.state == "done":
            assert (a.folder / "results.json").read_bytes() == (b.folder / "results.json").read_bytes()
    again = sweep(jobs[:1], lambda todo: pytest.fail("a finished run is run again") if todo else iter(()))
    assert [each.state for each in again] == ["there"]


def test_the_commands(ensemble, questions, alone, task_file, monkeypatch, capsys, tmp_path):
    wanted = ("label", "--ensemble", ensemble, "--input", questions, "--prompt", "{{ q }}", "--id", "id")
    wanted += ("--shard-rows", 4, "--output", tmp_path / "out")
    code, _, err = call(monkeypatch, capsys, *wanted, "--workers", 2)
    assert (code, "--engine ray" in err) == (2, True)
    code, out, err = call(monkeypatch, capsys, *wanted, "--engine", "ray", "--workers", 2)
    assert code == 0, err
    assert f"{4 * N_SHARDS - 2} of {4 * N_SHARDS} rows labelled" in out
    assert files(tmp_path / "out") == alone[1]
    tree = merged(tiny_tree(task_file), {"seeds": [0], "ensemble": {"methods": ["bagging"]}})
    (tmp_path / "tiny.yaml").write_text(json.dumps(tree))
    given = ("sweep", tmp_path / "tiny.yaml", "--output", tmp_path / "sweep", "--over", "ensemble.n_rounds=1,2")
    code, out, err = call(monkeypatch, capsys, *given)
    assert code == 0, err
    assert "ensemw2s compare" in out
    code, _, err = call(monkeypatch, capsys, *given, "--over", "weak.n_layers=99")
    assert code == 1
    assert "2 of 2 runs failed" in err


DRIVER = """
import time
from ensemw2s.distributed.cluster import connected
from ensemw2s.stopping import stops_cleanly

with stops_cleanly("out"), connected(1, None) as ray:
    task = ray.remote(lambda: time.sleep(600)).remote()
    time.sleep(1)
    print("ready", flush=True)
    ray.get(task)
"""


@pytest.mark.parametrize(
    ("numbers", "code"),
    [([signal.SIGTERM, signal.SIGTERM], 143), ([signal.SIGINT, signal.SIGTERM], 130), ([signal.SIGKILL], -9)],
)
def test_a_driver_that_is_told_to_stop_leaves_no_process_behind(numbers, code, tmp_path):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}

    def heard():
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen([sys.executable, "-c", DRIVER], **pipes, preexec_fn=heard) as driver:
        assert driver.stdout.readline() == "ready\n"
        others = psutil.Process(driver.pid).children(recursive=True)
        assert len(others) > 5
        for number in numbers:
            driver.send_signal(number)
            time.sleep(0.2)
        assert driver.wait(30) == code
        _, left = psutil.wait_procs(others, timeout=15)  # a second, where nothing else keeps the machine busy
        assert not left
        message = driver.stderr.read()
    ours = [line for line in message.splitlines() if not LOGGED_BY_RAY.match(line)]
    assert len(ours) == (0 if code == -9 else 1)
    assert "*** SIGTERM" not in message
