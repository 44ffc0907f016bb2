"""A finished run in each tracker, read back from what the tracker wrote on disk."""

import json
import os
import subprocess
import sys

import pytest

from ensemw2s.config import parse_config
from ensemw2s.pipeline.run import run
from ensemw2s.services.tracking.track import by_round, by_row
from tiny_run import comparison_rows, merged, tiny_tree, write_jsonl

pytestmark = pytest.mark.integration
SMALL = {"seeds": [0], "ensemble": {"methods": ["boosting"], "n_rounds": 2}, "students": {"recipes": [{}]}}
FILES = ["config.yaml", "report.html", "results.json", "timing.json"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("tracked")


@pytest.fixture(scope="module")
def results(place):
    tree = merged(tiny_tree(write_jsonl(place / "q.jsonl", comparison_rows())), SMALL)
    return run(parse_config(tree), place / "run", store_root=place / "store")


@pytest.fixture(scope="module")
def expected(results):
    """Every metric with its steps."""
    series: dict[str, dict[int, float]] = {}
    steps = [*by_round(results), (2, by_row(results))]
    for step, metrics in steps:
        for name, value in metrics.items():
            series.setdefault(name, {})[step] = value
    assert len(series["rounds/boosting/seed-0/weighted_error"]) == 2
    assert any(name.startswith("rows/student:boosting:xent") for name in series)
    return series


@pytest.fixture
def tracked(place, results):
    """Calls `ensemw2s track` in a process of its own, as trackers leave threads and handlers behind."""

    def call(kind, *arguments, **settings):
        command = [sys.executable, "-m", "ensemw2s", "track", str(place / "run"), "--to", kind, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | settings, cwd=place)
        assert done.returncode == 0, done.stderr
        name = f"tiny-{results.config_hash[:8]}"
        assert f"is logged in {kind} as {name}" in done.stdout
        return name

    return call


def test_trackio_has_the_run_on_disk(place, tracked, expected):
    name = tracked("trackio", TRACKIO_DIR=str(place / "trackio"))
    script = (
        "import json, sys\nfrom trackio.sqlite_storage import SQLiteStorage as s\n"
        "print(json.dumps([s.get_logs('tiny', sys.argv[1]), s.get_run_config('tiny', sys.argv[1])]))"
    )
    environment = os.environ | {"TRACKIO_DIR": str(place / "trackio")}
    read = subprocess.run([sys.executable, "-c", script, name], capture_output=True, text=True, env=environment)
    logs, config = json.loads(read.stdout.splitlines()[-1])
    found = {
        metric: {log["step"]: log[metric] for log in logs if metric in log}
        for metric in {key for log in logs for key in log} - {"step", "timestamp"}
    }
    assert found == {name: pytest.approx(values) for name, values in expected.items()}
    assert (config["seeds"], config["ensemble"]["n_rounds"]) == ([0], 2)
    kept = {path.read_bytes() for path in (place / "trackio").rglob("blobs/*/*/*") if path.is_file()}
    assert (place / "run" / "report.html").read_bytes() in kept


def test_tensorboard_reads_the_run(place, tracked, expected):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    name = tracked("tensorboard", "--folder", str(place / "boards"), "--project", "mine")
    folder = place / "boards" / "mine" / name
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    found = {tag: {one.step: one.value for one in events.Scalars(tag)} for tag in events.Tags()["scalars"]}
    assert found == {name: pytest.approx(values, rel=1e-5) for name, values in expected.items()}
    assert sorted(path.name for path in folder.iterdir() if "tfevents" not in path.name) == FILES


def test_mlflow_has_the_run_in_its_files(place, tracked, expected, monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # its database needs more than mlflow-skinny
    uri = (place / "mlflow").as_uri()
    name = tracked("mlflow", MLFLOW_TRACKING_URI=uri)
    client = mlflow.MlflowClient(uri)
    (experiment,) = client.search_experiments(filter_string="name = 'tiny'")
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.info.run_name, found.info.status) == (name, "FINISHED")
    assert found.data.params["ensemble.n_rounds"] == "2"
    for metric, values in expected.items():
        history = client.get_metric_history(found.info.run_id, metric.replace("+", "_"))
        assert {one.step: one.value for one in history} == pytest.approx(values)
    assert sorted(file.path for file in client.list_artifacts(found.info.run_id)) == FILES


def test_wandb_has_the_run_offline(place, tracked, expected):
    tracked("wandb", WANDB_MODE="offline", WANDB_DIR=str(place / "wandb"))
    (path,) = (place / "wandb").rglob("*.wandb")
    written = path.read_bytes()
    for metric in expected:
        assert metric.encode() in written, metric


def test_a_tracker_that_refuses_is_named(place, results):
    command = [sys.executable, "-m", "ensemw2s", "track", str(place / "run"), "--to"]
    done = subprocess.run([*command, "paper"], capture_output=True, text=True)
    assert (done.returncode, "there is trackio, wandb, mlflow, tensorboard" in done.stderr) == (2, True)
    broken = os.environ | {"TRACKIO_SERVER_URL": "nowhere"}
    done = subprocess.run([*command, "trackio"], capture_output=True, text=True, env=broken)
    assert (done.returncode, "trackio refuses (ValueError" in done.stderr) == (2, True)
