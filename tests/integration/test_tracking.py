"""A run in each tracker, read back from what the tracker wrote on disk.

Once it is logged when it is finished, once while it goes on, killed in between and resumed.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ensemw2s.config import parse_config
from ensemw2s.pipeline.run import run
from ensemw2s.services.tracking.entries import of_results
from tiny_run import comparison_rows, merged, tiny_tree, write_jsonl

pytestmark = pytest.mark.integration
SMALL = {"seeds": [0, 1], "ensemble": {"methods": ["single", "boosting"], "n_rounds": 2}, "students": {"recipes": [{}]}}
FILES = ["config.yaml", "report.html", "results.json", "timing.json"]
DYING = """
import os, sys, time
from ensemw2s import cli
from ensemw2s.pipeline import run as runner

real = runner.train_students

def dying(work):
    for n, condition in enumerate(real(work)):
        yield condition
        if n == 1:
            time.sleep(3)  # a tracker that sends by and by has sent
            os._exit(9)

runner.train_students = dying
cli.main()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("tracked")


@pytest.fixture(scope="module")
def results(place):
    tree = merged(tiny_tree(write_jsonl(place / "q.jsonl", comparison_rows())), SMALL)
    (place / "tiny.yaml").write_text(yaml.safe_dump(tree))
    return run(parse_config(tree), place / "run", store_root=place / "home" / "store")


@pytest.fixture(scope="module")
def expected(results):
    """Every metric with its steps."""
    series: dict[str, dict[int, float]] = {}
    for entry in of_results(results):
        for name, value in entry.metrics.items():
            series.setdefault(name, {})[entry.step] = value
    assert len(series["rounds/boosting/seed-1/weighted_error"]) == 2
    assert any(name.startswith("rows/student:boosting:xent") for name in series)
    return series


@pytest.fixture(params=["finished", "killed and resumed"])
def tracked(request, place, results):
    """Logs the run in a process of its own, as trackers leave threads and handlers behind. Returns its name there."""

    def call(kind, folder: Path, **settings):
        folder.mkdir()
        environment = os.environ | settings | {"ENSEMW2S_HOME": str(place / "home")}
        if request.param == "finished":
            command = [sys.executable, "-m", "ensemw2s", "track", str(place / "run"), "--to", kind, "--project", "tiny"]
            done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
            assert done.returncode == 0, done.stderr
            name = f"tiny-{results.config_hash[:8]}"
            assert f"is logged in {kind} as {name}" in done.stdout
            return name
        mine = ["run", str(place / "tiny.yaml"), "--run-dir", "live", "--tracking", kind, "--json"]
        for command, code in ((["-c", DYING], 9), (["-m", "ensemw2s"], 0)):
            done = subprocess.run(
                [sys.executable, *command, *mine], capture_output=True, text=True, env=environment, cwd=folder
            )
            assert done.returncode == code, done.stderr
            assert "warning" not in done.stderr
        assert json.loads(done.stdout)["config_hash"] == results.config_hash  # and trackers say nothing there
        assert (folder / "live" / "results.json").read_bytes() == (place / "run" / "results.json").read_bytes()
        return json.loads((folder / "live" / "tracking.json").read_text())["trackers"][kind]["name"]

    return call


def test_trackio_has_the_run_on_disk(tmp_path, tracked, expected):
    folder = tmp_path / "trackio"
    name = tracked("trackio", folder, TRACKIO_DIR=str(folder))
    script = (
        "import json, sys\nfrom trackio.sqlite_storage import SQLiteStorage as s\n"
        "print(json.dumps([s.get_logs('tiny', sys.argv[1]), s.get_run_config('tiny', sys.argv[1])]))"
    )
    environment = os.environ | {"TRACKIO_DIR": str(folder)}
    read = subprocess.run([sys.executable, "-c", script, name], capture_output=True, text=True, env=environment)
    logs, config = json.loads(read.stdout.splitlines()[-1])
    found = {
        metric: {log["step"]: log[metric] for log in logs if metric in log}
        for metric in {key for log in logs for key in log} - {"step", "timestamp"}
    }
    assert found == {name: pytest.approx(values) for name, values in expected.items()}
    assert all(
        len([log for log in logs if log["step"] == s and m in log]) == 1 for m, steps in found.items() for s in steps
    )
    assert (config["seeds"], config["ensemble"]["n_rounds"]) == ([0, 1], 2)
    kept = {path.read_bytes() for path in folder.rglob("blobs/*/*/*") if path.is_file()}
    assert any(b"<!doctype html>" in content for content in kept)


def test_tensorboard_reads_the_run(tmp_path, tracked, expected):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    name = tracked("tensorboard", tmp_path / "boards")
    folder = tmp_path / "boards" / "tensorboard" / "tiny" / name
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    found = {tag: {one.step: one.value for one in events.Scalars(tag)} for tag in events.Tags()["scalars"]}
    assert sum(map(len, map(events.Scalars, found))) == sum(map(len, found.values()))
    assert found == {name: pytest.approx(values, rel=1e-5) for name, values in expected.items()}
    assert sorted(path.name for path in folder.iterdir() if "tfevents" not in path.name) == FILES


def test_mlflow_has_the_run_in_its_files(tmp_path, tracked, expected, monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # its database needs more than mlflow-skinny
    uri = (tmp_path / "mlflow" / "files").as_uri()
    name = tracked("mlflow", tmp_path / "mlflow", MLFLOW_TRACKING_URI=uri)
    client = mlflow.MlflowClient(uri)
    (experiment,) = client.search_experiments(filter_string="name = 'tiny'")
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.info.run_name, found.info.status) == (name, "FINISHED")
    assert found.data.params["ensemble.n_rounds"] == "2"
    for metric, values in expected.items():
        history = client.get_metric_history(found.info.run_id, metric.replace("+", "_"))
        assert {one.step: one.value for one in history} == pytest.approx(values)
        assert len(history) == len(values)
    assert sorted(file.path for file in client.list_artifacts(found.info.run_id)) == FILES


def test_wandb_has_the_run_offline(request, tmp_path, tracked, expected):
    """In a file for each time that it was opened, all of one id.

    wandb writes by and by, so what it was told before a process died may be missing: all but what is told at the end.
    """
    tracked("wandb", tmp_path / "wandb", WANDB_MODE="offline", WANDB_DIR=str(tmp_path / "wandb"))
    paths = list((tmp_path / "wandb").rglob("*.wandb"))
    assert len({path.name for path in paths}) == 1
    written = [path.read_bytes() for path in paths]
    was_killed = "killed" in request.node.name
    for metric in expected:
        may_be_lost = was_killed and "/seed-" in metric and "_accuracy/" not in metric
        assert may_be_lost or any(metric.encode() in content for content in written), metric


def test_a_tracker_that_refuses_is_named(place, results):
    command = [sys.executable, "-m", "ensemw2s", "track", str(place / "run"), "--to"]
    done = subprocess.run([*command, "paper"], capture_output=True, text=True)
    assert (done.returncode, "there is trackio, wandb, mlflow, tensorboard" in done.stderr) == (2, True)
    broken = os.environ | {"TRACKIO_SERVER_URL": "nowhere"}
    done = subprocess.run([*command, "trackio"], capture_output=True, text=True, env=broken)
    assert (done.returncode, "trackio refuses (ValueError" in done.stderr) == (2, True)
