"""A run in a tracker while it goes on: what it is told, once, whatever becomes of the run or of the tracker."""

import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from ensemw2s.config import canonical_hash, parse_config
from ensemw2s.errors import ConfigError
from ensemw2s.pipeline import run as runner
from ensemw2s.pipeline.run import run
from ensemw2s.pipeline.run_folder import EVENTS
from ensemw2s.services.sweeps.sweep import combinations, run_here, sweep
from ensemw2s.services.tracking import live, track, trackers
from ensemw2s.services.tracking.live import LEDGER, listener_of
from ensemw2s.services.tracking.trackers import Tracker
from tiny_run import comparison_rows, merged, tiny_tree, write_jsonl

SMALL = {"ensemble": {"methods": ["single", "boosting"], "n_rounds": 2}, "students": {"recipes": [{}]}}
"""Two seeds, so that steps go back where the second begins."""
Series = dict[tuple[str, int], float]


class Paper:
    """A tracker that writes each call at once to a file, which outlives the process: one line for each metric."""

    def __init__(self, folder: Path, kind: str, name: str, resume: str):
        self.id = resume or f"{kind}-{name}"
        self._path = folder / f"{self.id}.jsonl"
        assert self._path.exists() == bool(resume)
        self._write({"opened": kind})

    def _write(self, *lines: object) -> None:
        with self._path.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self._write(*({"metric": name, "step": step, "value": value} for name, value in metrics.items()))

    def keep(self, files: Sequence[Path]) -> None:
        self._write({"kept": [path.name for path in files]})

    def finish(self, *, is_whole: bool) -> None:
        self._write({"is_whole": is_whole})


@pytest.fixture
def shelf(tmp_path, monkeypatch) -> Path:
    """Where every tracker is one of paper: shelf/ID.jsonl."""
    folder = tmp_path / "shelf"
    folder.mkdir()

    def opened(kind, project, name, settings, place, *, resume="", option="--to") -> Tracker:
        assert settings["seeds"] == [0, 1]
        assert "torch" in settings["versions"]
        return Paper(folder, kind, name, resume)

    for module in (live, track):
        monkeypatch.setattr(module, "open_tracker", opened)
    monkeypatch.setattr(live, "check_installed", lambda kind, option: None)
    return folder


def lines(path: Path, key: str) -> list[dict]:
    return [line for line in map(json.loads, path.read_text().splitlines()) if key in line]


def series(path: Path) -> Series:
    """What was logged; no metric twice in one step."""
    logged = lines(path, "metric")
    found = {(line["metric"], line["step"]): line["value"] for line in logged}
    assert len(found) == len(logged)
    return found


@pytest.fixture(autouse=True, scope="module")
def quick():
    """Runs that neither draw a report nor export models, which takes most of their time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "write_report", lambda results, timing, path: path.write_text("a report"))
        patch.setattr(runner, "export_run", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def made(quick, tmp_path_factory) -> Path:
    """The same run without a tracker; all of its units lie in the store beside."""
    root = tmp_path_factory.mktemp("tracked")
    write_jsonl(root / "q.jsonl", comparison_rows())
    run(config_of(root), root / "plain", store_root=root / "store")
    return root


def config_of(root: Path, tracking: str = "none"):
    return parse_config(merged(tiny_tree(root / "q.jsonl"), SMALL) | {"tracking": tracking})


def tracked(made: Path, folder: Path, kind: str = "trackio", store: Path | None = None) -> list[str]:
    """A run with a tracker. Returns its warnings."""
    warnings: list[str] = []
    config = config_of(made, kind)
    run(config, folder, store_root=store or made / "store", listener=listener_of(config, folder, warnings.append))
    return warnings


def test_a_tracker_decides_nothing(made, shelf, tmp_path):
    assert canonical_hash(config_of(made, "trackio")) == canonical_hash(config_of(made))
    assert tracked(made, tmp_path / "run") == []
    for name in ("results.json", "config.yaml", "items.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (made / "plain" / name).read_bytes()


def test_what_is_told_on_the_way_and_at_the_end_is_what_is_told_of_the_finished_run(made, shelf, tmp_path):
    tracked(made, tmp_path / "run")
    (path,) = shelf.iterdir()
    found = series(path)
    name = track.track(tmp_path / "run", "wandb")
    assert series(shelf / f"wandb-{name}.jsonl") == pytest.approx(found)
    assert {step for _, step in found} == {0, 1, 2}
    for metric, step in (
        ("rounds/boosting/seed-1/weighted_error", 1),
        ("rounds/boosting/seed-1/training_loss", 1),
        ("rounds/boosting/seed-0/ensemble_accuracy/ood_test", 1),
        ("trainings/student:boosting:xent-soft/seed-1/training_loss", 2),
        ("trainings/ceiling/seed-0/steps", 2),
        ("rows/student:boosting:xent-soft/ood_test/accuracy_low", 2),
    ):
        assert (metric, step) in found
    assert lines(path, "kept") == [{"kept": ["report.html", "results.json", "config.yaml", "timing.json"]}]
    assert lines(path, "is_whole") == [{"is_whole": True}]


def test_rounds_and_students_come_while_the_run_goes_on(made, shelf, tmp_path, monkeypatch):
    seen: list[set[str]] = []
    real = runner.train_students

    def looking(work):
        for condition in real(work):
            (path,) = shelf.iterdir()
            seen.append({metric for metric, _ in series(path)})
            yield condition

    monkeypatch.setattr(runner, "train_students", looking)
    tracked(made, tmp_path / "run")
    assert "rounds/boosting/seed-1/weighted_error" in seen[0]
    assert not any(metric.startswith("trainings/") for metric in seen[0])
    assert "trainings/strong_on_easy/seed-0/steps" in seen[1]
    assert not any(metric.startswith("rows/") for metric in seen[-1])


def test_a_killed_and_resumed_run_tells_nothing_twice_under_one_name(made, shelf, tmp_path, monkeypatch):
    read, written = os.pipe()
    real = runner.train_students

    def hanging(work):
        for n, condition in enumerate(real(work)):
            yield condition
            if n == 1:
                os.write(written, b"!")
                time.sleep(600)

    with monkeypatch.context() as patch:
        patch.setattr(runner, "train_students", hanging)
        if (child := os.fork()) == 0:
            try:
                tracked(made, tmp_path / "run")
            finally:
                os._exit(1)
        os.close(written)
        assert os.read(read, 1) == b"!"
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    (path,) = shelf.iterdir()
    half = series(path)
    assert half
    tracked(made, tmp_path / "run")
    assert list(shelf.iterdir()) == [path]
    whole = series(path)
    assert half.items() < whole.items()
    track.track(tmp_path / "run", "wandb")
    assert whole == pytest.approx(series(next(shelf.glob("wandb-*"))))
    before = path.read_bytes()
    tracked(made, tmp_path / "run")  # and a finished one is not even opened
    assert path.read_bytes() == before


def test_a_finished_run_can_be_told_to_another_tracker(made, shelf, tmp_path):
    tracked(made, tmp_path / "run")
    (first,) = shelf.iterdir()
    before = first.read_bytes()
    tracked(made, tmp_path / "run", "mlflow")
    (second,) = shelf.glob("mlflow-*")
    assert series(second) == series(first)
    assert first.read_bytes() == before


def test_a_folder_that_was_removed_or_whose_ledger_is_damaged_is_another_run(made, shelf, tmp_path):
    tracked(made, tmp_path / "run")
    (tmp_path / "run" / LEDGER).write_text("{")
    tracked(made, tmp_path / "run")
    one, other = shelf.iterdir()
    assert one.name != other.name
    assert series(one) == series(other)


@pytest.mark.parametrize("call", ["log", "keep", "finish"])
def test_a_tracker_that_fails_costs_a_warning(made, shelf, tmp_path, monkeypatch, call):
    def fails(self, *arguments, **settings):
        raise ConnectionError("no\nnetwork")

    monkeypatch.setattr(Paper, call, fails)
    (warning,) = tracked(made, tmp_path / "run")
    assert "trackio fails (ConnectionError: no network); the run goes on without it" in warning
    assert f"ensemw2s track {tmp_path / 'run'} --to trackio" in warning
    assert (tmp_path / "run" / "results.json").read_bytes() == (made / "plain" / "results.json").read_bytes()


def test_a_run_that_ends_badly_is_not_said_to_be_whole(made, shelf, tmp_path, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(runner, "evaluate_run", broken)
    with pytest.raises(ZeroDivisionError):
        tracked(made, tmp_path / "run")
    (path,) = shelf.iterdir()
    assert lines(path, "is_whole") == [{"is_whole": False}]


def test_a_tracker_that_is_missing_or_refuses_does_so_before_any_work(made, tmp_path, monkeypatch):
    monkeypatch.setitem(trackers.TRACKERS, "trackio", "ensemw2s.no_such_tracker")
    with pytest.raises(ConfigError, match="tracking trackio: trackio is not installed; install it with: pip install"):
        tracked(made, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(live, "check_installed", lambda kind, option: None)

    def refusing(*_, **settings):
        raise ConfigError("trackio refuses")

    monkeypatch.setattr(live, "open_tracker", refusing)
    with pytest.raises(ConfigError, match="refuses"):
        tracked(made, tmp_path / "run")
    assert not (tmp_path / "run" / EVENTS).exists()
    with pytest.raises(ConfigError, match="tracking: input should be 'none', 'trackio'"):
        config_of(made, "papyrus")


def test_a_sweep_tells_each_of_its_runs(made, shelf, tmp_path, monkeypatch):
    monkeypatch.setenv("ENSEMW2S_HOME", str(made / "home"))
    (made / "home").mkdir(exist_ok=True)
    (made / "home" / "store").symlink_to(made / "store")
    settings = tmp_path / "c.yaml"
    settings.write_text(json.dumps(merged(tiny_tree(made / "q.jsonl"), SMALL) | {"tracking": "trackio"}))
    jobs = combinations(settings, [], ["students.method=recipes"], tmp_path / "runs")
    listeners = lambda config, folder: listener_of(config, folder, pytest.fail)  # noqa: E731
    (done,) = sweep(jobs, lambda todo: run_here(todo, listeners))
    assert done.state == "done", done.reason
    (path,) = shelf.iterdir()
    assert lines(path, "is_whole") == [{"is_whole": True}]
