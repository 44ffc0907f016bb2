"""A plan says what the run then does."""

import json
from pathlib import Path

import pytest

from ensemw2s.config import EnsembleConfig, load_config, parse_config
from ensemw2s.errors import ModelError
from ensemw2s.pipeline.run import run
from ensemw2s.pipeline.tiny import tiny
from ensemw2s.services.planning import calibrate
from ensemw2s.services.planning.calibrate import measured
from ensemw2s.services.planning.plan import make_plan
from ensemw2s.services.planning.units import expert_trainings
from test_cli import call
from tiny_run import merged, tiny_tree, tiny_words_tree

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*/*.yaml"))
KINDS = {"classes": tiny_tree, "words": tiny_words_tree}


@pytest.fixture
def no_time(monkeypatch):
    """Every measurement ends after its two calls."""
    monkeypatch.setattr(calibrate, "SECONDS", 0.0)


def config_of(kind, task_file, **changes):
    return parse_config(merged(KINDS[kind](task_file), changes))


def records(store: Path, kind: str) -> list[dict]:
    return [json.loads(path.read_text()) for path in (store / kind).rglob("record.json")]


def size(store: Path) -> int:
    return sum(path.stat().st_size for path in store.rglob("tensors.safetensors"))


@pytest.mark.parametrize(("kind", "errors"), [("classes", "train"), ("classes", "folds"), ("words", "folds")])
def test_the_counts_are_those_of_the_run(kind, errors, task_file, tmp_path):
    # Every round takes place: the prior is one that every expert beats.
    ensemble = {"error_source": errors, "n_folds": 2, "prior": 0.9999, "n_rounds": 2}
    config = config_of(kind, task_file, ensemble=ensemble, seeds=[0])
    found = make_plan(config, calibrated=False)
    run(config, tmp_path / "run", store_root=tmp_path / "store")
    experts = [line for line in found.lines if line.what.startswith("an expert") and line.tokens and line.disk]
    assert sum(line.count for line in experts) == len(records(tmp_path / "store", "experts"))
    trained = [line for line in found.lines if line.stage == "experts" and line.flops and "evalu" not in line.what]
    trained = [line for line in trained if "answers" not in line.what]
    tokens = sum(r["training_tokens"] for kind_ in ("experts", "errors") for r in records(tmp_path / "store", kind_))
    assert sum(line.count * line.tokens for line in trained) == pytest.approx(tokens, rel=0.05)
    students = [line for line in found.lines if line.stage == "students" and line.disk and "reads" not in line.what]
    # Teachers that give the same labels have the same student.
    n_students = len(records(tmp_path / "store", "students"))
    assert 0.5 * sum(line.count for line in students) <= n_students <= sum(line.count for line in students)
    assert 0.6 < size(tmp_path / "store") / found.disk < 1.4
    assert found.seconds is None


def test_shared_first_experts_count_once():
    assert expert_trainings(EnsembleConfig(n_rounds=5)) == 1 + 4 + 5 + 4
    assert expert_trainings(EnsembleConfig(n_rounds=5, methods=("bagging",))) == 5
    assert expert_trainings(EnsembleConfig(n_rounds=5, methods=("single", "bagging"))) == 6


@pytest.mark.parametrize("kind", KINDS)
def test_time_is_measured_here_and_nothing_is_kept(kind, task_file, tmp_path, monkeypatch):
    monkeypatch.setenv("ENSEMW2S_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    found = make_plan(config_of(kind, task_file))
    assert found.seconds is not None
    assert all(line.seconds is not None and line.seconds > 0 for line in found.lines)
    assert found.seconds >= found.loading_seconds > 0
    assert found.peak_memory > 100 * 2**20
    kept = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert not [p for p in kept if "store" in p.parts or "runs" in p.parts]


def test_the_weak_models_rating_is_not_done(task_file):
    config = config_of("classes", task_file, difficulty={"source": "entropy", "n_labelled": 50})
    found = make_plan(config, calibrated=False)
    assert found.rows_per_seed["easy_train"] == 60
    assert "rating" in found.notes[0]


def test_trainings_with_patience_are_counted_with_all_their_epochs(task_file):
    steps = {"epochs": 9, "schedule": "constant"}
    plain, patient = (
        make_plan(config_of("words", task_file, student_training=steps | more), calibrated=False)
        for more in ({}, {"patience": 2})
    )
    assert plain.notes == ()
    assert "counted with all their epochs" in patient.notes[0]
    assert patient.tokens == plain.tokens
    assert patient.flops > plain.flops  # the passes over validation data


def test_what_a_run_refuses_is_refused(task_file):
    with pytest.raises(ModelError, match="99"):
        make_plan(config_of("classes", task_file, weak={"n_layers": 99}), calibrated=False)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_shipped_configuration_can_be_planned_and_all_its_work_is_timed(path, no_time):
    found = make_plan(tiny(load_config(path)))
    assert {"experts", "students", "evaluate"} <= {line.stage for line in found.lines}
    assert found.flops > 0
    assert [line.what for line in found.lines if not line.seconds] == []


@pytest.mark.parametrize("judges", ["trained", "likelihood", "principles"])
def test_what_judges_read_is_timed_through_the_whole_model(judges, task_file, no_time):
    # All of such a model is trained, so that its trunk's pass, which takes no time, is no judge's.
    students = {"recipes": [{"labels": "hard", "label_model": "judged"}]}
    strong = {"adapter": "full"}
    config = config_of("words", task_file, judges={"kind": judges}, students=students, strong=strong)
    lines = {line.what: line for line in make_plan(config).lines}
    judge, trunk = (
        line.seconds / line.count / line.tokens
        for line in (lines["judges read answers"], lines["the trunk reads the tests' answers"])
    )
    assert judge > trunk  # the weak model's, of one layer
    assert ("a judge" in lines) == (judges == "trained")


def test_judges_read_the_answers_of_those_for_whom_they_are_asked(task_file):
    def asked(*recipes, n_samples=0):
        students = {"recipes": [{"labels": "hard"} | recipe for recipe in recipes]}
        changes = {"judges": {"kind": "trained"}, "generation": {"samples": n_samples}, "students": students}
        found = make_plan(config_of("words", task_file, **changes), calibrated=False)
        lines = {line.what: line for line in found.lines}
        assert lines["a judge"].count == 10  # made by every run that has judges
        return lines.get("judges read answers")

    judged, n_seeds, n_teachers = {"label_model": "judged"}, 2, 5
    assert asked({}) is None
    of_all = asked({}, judged)
    assert of_all.count == n_seeds * n_teachers
    of_one = asked({}, judged | {"teachers": ["self"]}, judged | {"teachers": ["self"], "with_easy": True})
    assert of_one.count == n_seeds
    assert of_one.tokens < of_all.tokens  # the strong model has no members, each with an answer of its own
    assert asked({}, n_samples=3).count == n_seeds * n_teachers  # for the curve of how right a choice among them is


def test_the_command_prints_a_table_or_json(task_file, monkeypatch, capsys, tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps(tiny_tree(task_file)))
    code, out, err = call(monkeypatch, capsys, "plan", path, "--no-calibrate")
    assert code == 0, err
    for word in ("an expert", "the ceiling", "evaluations", "memory", "disk", "easy_train 60"):
        assert word in out
    code, out, _ = call(monkeypatch, capsys, "plan", path, "--no-calibrate", "--json")
    assert json.loads(out)["name"] == "tiny"
    code, _, err = call(monkeypatch, capsys, "plan", path, "--set", "seeds=[]")
    assert code == 2
    assert "seeds" in err


def test_a_measurement_ends_in_time_and_is_the_median():
    calls: list[int] = []
    assert measured(lambda: calls.append(1), 0.02) < 0.01
    assert len(calls) > 2
    calls.clear()
    measured(lambda: calls.append(1), 0.0)
    assert len(calls) == 2
