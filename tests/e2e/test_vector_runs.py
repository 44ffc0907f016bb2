"""Vectors of a file in the place of a model: figures, what a run leaves with, and refusals."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from ensemw2s import Student
from ensemw2s.cli.commands import run_command
from ensemw2s.config import ModelConfig, parse_config
from ensemw2s.errors import ConfigError, DataError, ModelError
from ensemw2s.export.classifier import load_student
from ensemw2s.export.ensembles.class_labeller import ClassLabeller
from ensemw2s.export.ensembles.labeller import open_labeller
from ensemw2s.export.student import answer_prompts
from ensemw2s.forms.classification.prepare import ClassPrepared
from ensemw2s.forms.classification.role import ClassRole
from ensemw2s.models.vectors import open_vectors, write_vectors
from ensemw2s.pipeline import run as runner
from ensemw2s.pipeline.prepare import check
from ensemw2s.pipeline.run import run
from ensemw2s.results.conditions import ZERO_SHOT
from ensemw2s.services.planning.plan import make_plan
from ensemw2s.services.sharing.parcel import student_parcel
from tiny_run import merged, tiny_tree

METHODS = ["single", "independent", "subspace", "layers"]


def tree(task_file, model):
    changes = {
        "seeds": [0],
        "weak": {"model": model},
        "strong": {"model": model},
        "ensemble": {"methods": METHODS, "layer_range": [1, 2], "prior": 0.9, "n_rounds": 2},
        "students": {"recipes": [{}], "method": "recipes"},
    }
    return merged(tiny_tree(task_file), changes)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("vectors")


@pytest.fixture(scope="module")
def of_text(place, task_file):
    return run(parse_config(tree(task_file, "tiny")), place / "text", store_root=place / "store")


@pytest.fixture(scope="module")
def vectors(of_text, place, task_file):
    """What the two heads of the run and its members at other depths read, as a file."""
    prepared = runner.prepare(parse_config(tree(task_file, "tiny")), runner.Store(place / "store"), lambda *_: None)
    assert isinstance(prepared, ClassPrepared)
    (weak,), rows = prepared.pool, torch.arange(len(prepared.names))
    assert isinstance(weak, ClassRole)
    inputs = {**weak.at_depth, 2: weak.inputs, 4: prepared.strong.inputs}
    path = place / "vectors.safetensors"
    write_vectors(path, prepared.names, {depth: each.batch(rows)[0][:, 0] for depth, each in inputs.items()})
    return path, prepared


@pytest.fixture(scope="module")
def finished(vectors, place, task_file):
    config = parse_config(tree(task_file, f"features:{vectors[0]}"))
    return run(config, place / "run", store_root=place / "store")


def test_the_figures_are_those_of_the_model_that_made_the_vectors(finished, of_text):
    rows = {row.key: row for row in of_text.rows if row.condition != ZERO_SHOT}
    assert {row.key for row in finished.rows} == rows.keys()
    for row in finished.rows:
        assert (row.parts, row.n_experts, row.steadiness) == (
            rows[row.key].parts,
            rows[row.key].n_experts,
            rows[row.key].steadiness,
        )
    assert finished.ensembles == of_text.ensembles
    assert finished.recommendation.row == of_text.recommendation.row
    (note,) = [note for note in finished.notes if "zero-shot" in note]
    assert "this one gives vectors" in note
    # Vectors cost no pass of a trunk; the same heads are trained on them.
    assert 0 < finished.row("single").cost.flops < of_text.row("single").cost.flops


def test_student_and_ensemble_answer_rows_by_their_vectors(finished, vectors, place, monkeypatch, capsys):
    path, prepared = vectors
    names = prepared.names[-20:]
    rows = place / "rows.jsonl"
    rows.write_text("".join(json.dumps({"id": n, "q": "Is it?"}) + "\n" for n in [*names, "nobody"]))
    answers = list(answer_prompts(place / "run" / "student", names, features=path))
    assert all(abs(sum(each["probability"].values()) - 1.0) < 1e-5 for each in answers)
    common = ["--input", str(rows), "--id", "id", "--features", str(path)]

    def command(*arguments):
        monkeypatch.setattr("sys.argv", ["ensemw2s", *map(str, arguments)])
        assert run_command() == 0
        return capsys.readouterr().err

    written = command("predict", place / "run", *common, "--output", place / "answers.jsonl")
    table = [json.loads(line) for line in (place / "answers.jsonl").read_text().splitlines()]
    assert [row["answer"] for row in table[:-1]] == [each["answer"] for each in answers]
    assert "no vector of the id 'nobody'" in table[-1]["error"]
    assert "1 of 21 rows have no answer" in written
    # The ensemble's labels are those of the run.
    store = runner.Store(place / "store")
    record = json.loads((place / "run" / "ensemble" / "ensemble.json").read_text())
    made = json.loads((place / "run" / "stages" / "labels.json").read_text())["artifacts"]
    artifacts = filter(None, (store.load("labels", each["key"]) for each in made))
    kept = next(each for each in artifacts if tuple(each.record["expert_ids"]) == tuple(record["expert_ids"]))
    labeller = open_labeller(place / "run", features=path)
    assert isinstance(labeller, ClassLabeller)
    labels = labeller.naming(kept.record["ids"]).label(kept.record["ids"])
    soft = torch.tensor([list(each["probability"].values()) for each in labels])
    assert torch.allclose(soft, kept.tensors["soft"], atol=1e-5)
    command("label", "--ensemble", place / "run", *common, "--output", place / "labels")
    assert "nobody" in next((place / "labels").glob("errors-*.jsonl")).read_text()
    with pytest.raises(ModelError, match="--features FILE"):
        open_labeller(place / "run")
    with pytest.raises(ModelError, match="--features FILE"):
        list(answer_prompts(place / "run" / "student", ["a"]))
    with pytest.raises(ModelError, match="no vectors; leave --features out"):
        open_labeller(place / "text", features=path)


def test_vectors_are_planned_and_missing_ones_are_named_before_any_work(finished, vectors, place, task_file):
    path, prepared = vectors
    config = parse_config(tree(task_file, f"features:{path}"))
    assert make_plan(config, calibrated=False).flops > 0
    names, short = prepared.names, place / "short.safetensors"
    write_vectors(short, names[5:], {depth: torch.rand(len(names) - 5, 3) for depth in (1, 2, 4)})
    with pytest.raises(DataError, match=r"no vector of the example '\w+' \(and"):
        run(parse_config(tree(task_file, f"features:{short}")), place / "short", store_root=place / "none")
    assert not list((place / "none").rglob("experts"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weak": {"adapter": "lora"}}, "vectors alone; choose head"),
        ({"weak": {"chat": True}}, "chat is a setting of a language model"),
        ({"weak": {"model": "features:"}}, "needs the path"),
        ({"ensemble": {"prior": "pretrained"}}, "says nothing untrained"),
        ({"students": {"in_context": 4}}, "reads none"),
        ({"task": {"answer_form": "free"}}, "answered in words"),
    ],
)
def test_what_vectors_cannot_do_is_refused_with_the_settings(changes, said, task_file):
    with pytest.raises(ConfigError, match=said):
        parse_config(merged(tree(task_file, "features:there.safetensors"), changes))


@pytest.mark.parametrize("method", ["prompted", "contexts"])
def test_methods_that_ask_in_words_are_refused(method, task_file):
    settings = tree(task_file, "features:there.safetensors")
    settings["ensemble"] = {"methods": [method], "n_rounds": 2, "context": {"n": 2}}
    with pytest.raises(ConfigError, match=r"need a model of text, and weak\.model"):
        check(parse_config(settings))


@pytest.mark.parametrize(
    ("tensors", "metadata", "said"),
    [
        ({"features": torch.rand(2, 3)}, {}, "no `ids`"),
        ({"features": torch.rand(2, 3)}, {"ids": '["a", "a"]'}, "'a' is there twice"),
        ({"features": torch.rand(3, 3)}, {"ids": '["a", "b"]'}, "beside 2 ids"),
        ({"other": torch.rand(2, 3)}, {"ids": '["a", "b"]'}, "tensor 'other'"),
    ],
)
def test_a_file_that_is_not_laid_out_so_is_refused(tensors, metadata, said, tmp_path):
    save_file(tensors, tmp_path / "f.safetensors", metadata=metadata)
    with pytest.raises(ModelError, match=said):
        open_vectors(ModelConfig(model=f"features:{tmp_path / 'f.safetensors'}"))
    with pytest.raises(ModelError, match="there is no such file"):
        open_vectors(ModelConfig(model=f"features:{tmp_path / 'none.safetensors'}"))


def test_a_value_that_is_no_number_and_an_absent_depth_are_named(tmp_path):
    write_vectors(tmp_path / "f.safetensors", ["a", "b"], {3: torch.tensor([[1.0], [float("nan")]])})
    file = open_vectors(ModelConfig(model=f"features:{tmp_path / 'f.safetensors'}"))
    with pytest.raises(DataError, match="example 'b' \\(depth 3\\)"):
        file.features(["a", "b"], (), [3])
    with pytest.raises(ModelError, match="no vectors of depth 2"):
        file.cut(2)


def test_a_student_is_pushed_and_loads_under_its_name(finished, vectors, place, hub, monkeypatch, capsys):
    path, prepared = vectors
    monkeypatch.setattr("sys.argv", ["ensemw2s", "push", str(place / "run"), "--to", "me/student"])
    assert run_command() == 0
    assert "say in README.md which encoder made them" in " ".join(capsys.readouterr().err.split())
    student, pushed = place / "run" / "student", hub.repository("me/student")
    assert {p.name for p in pushed.iterdir()} == {p.name for p in student.iterdir()} | {".gitattributes"}
    names = list(prepared.names[:9])
    answers = [each["answer"] for each in answer_prompts(student, names, features=path)]
    file = open_vectors(ModelConfig(model=f"features:{path}"))
    rows = file.features(names, (), [4])[4].numpy()
    loaded = Student.load("me/student")
    assert loaded.predict(rows).tolist() == loaded.predict(rows.tolist()).tolist() == answers
    with pytest.raises(ValueError, match="reads rows of"):
        loaded.predict(rows[:, :3])
    with pytest.raises(ConfigError, match="copy that folder"):
        loaded.save(place / "copy")
    with pytest.raises(ModelError, match=r"load it by Student\.load"):
        load_student("me/student")
    card = (student / "README.md").read_text()
    assert "pipeline_tag: tabular-classification" in card
    assert "--id id --features new.safetensors" in card
    assert 'Student.load("PLACE").predict(vectors)' in card
    assert str(path.parent) not in card
    # A folder that was changed, or has more, is not pushed.
    shutil.copytree(student, place / "changed")
    (place / "changed" / "more.json").write_text("{}")
    with pytest.raises(ModelError, match=r"more\.json was added"):
        student_parcel(place / "changed")
