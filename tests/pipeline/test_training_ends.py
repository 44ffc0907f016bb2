"""A whole run says how each training ended, pays for what was really done, and reads stores that do not know."""

import json

import pytest

from ensemw2s.config import parse_config
from ensemw2s.forms.costs import trunk_cost, validation_cost
from ensemw2s.hashing import file_sha256
from ensemw2s.pipeline.prepare import prepare
from ensemw2s.pipeline.run import run
from ensemw2s.pipeline.run_folder import read_results
from ensemw2s.results.conditions import SINGLE_LONG
from ensemw2s.storage.store import Store
from tiny_run import merged, tiny_tree, tiny_words_tree

KINDS = {"classes": tiny_tree, "words": tiny_words_tree}
STEPPED = {"epochs": 30, "schedule": "constant", "warmup_frac": 0.0, "dropout": 0.0}
PATIENT = STEPPED | {"patience": 1, "min_steps": 4}


def config_of(kind, task_file, experts=PATIENT, students=PATIENT):
    changes = {
        "seeds": [0],
        "expert_training": experts,
        "student_training": students,
        "ensemble": {"n_rounds": 2, "methods": ["single", "boosting"]},
        "students": {"recipes": [{"labels": "hard", "label_model": "next-round"}]},
    }
    return parse_config(merged(KINDS[kind](task_file), changes))


@pytest.fixture(scope="module", params=KINDS)
def patient(request, task_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    config = config_of(request.param, task_file)
    return request.param, config, run(config, folder / "run", store_root=folder / "store"), folder


def test_every_trained_row_and_every_expert_says_how_it_ended(patient):
    _, _, results, folder = patient
    untrained = {"zero_shot", "majority", "tfidf", "tfidf_self_trained", "nearest_answer"}
    for row in results.rows:
        assert bool(row.trainings) == (row.key not in untrained)
        assert None not in row.trainings
        assert row.converged == (all(end.converged for end in row.trainings) if row.trainings else None)
    for trace in results.ensembles:
        voting = tuple(each.training for each in trace.rounds[: trace.selected])
        assert voting == results.row(trace.method).trainings
    (student,) = (row for row in results.rows if row.key.startswith("student:boosting"))
    assert len(student.trainings) == 2  # its own, after that of the student which its label model asked
    ends = [end for row in results.rows for end in row.trainings]
    assert {end.ended for end in ends} <= {"stopped_early", "all_epochs"}
    assert any(end.ended == "stopped_early" for end in ends)
    assert read_results(folder / "run") == results


def test_costs_are_those_of_the_epochs_done_and_of_the_passes_over_validation_data(patient, task_file, tmp_path):
    kind, _, results, _ = patient
    (end,) = results.row("strong_on_easy").trainings
    assert end.epochs < STEPPED["epochs"]
    config = config_of(kind, task_file, students=STEPPED | {"epochs": end.epochs})
    plain = run(config, tmp_path / "run", store_root=tmp_path / "store")
    paid, less = results.row("strong_on_easy").cost, plain.row("strong_on_easy").cost
    assert paid.training_tokens == less.training_tokens
    store = tmp_path / "store"
    prepared = prepare(config, Store(store), lambda model, tokens: None)
    role, val = prepared.strong, prepared.split.draw(0).easy_val
    owned = {json.loads(path.read_text())["owned"] for path in (store / "students").rglob("record.json")}
    amounts = {"owned": owned.pop(), "tokens": int(role.inputs.lengths[val].sum()) if kind == "classes" else 0}
    amounts |= {"examples": len(val)}
    if kind == "words":
        answers = prepared.easy_answers(role)
        amounts["tokens"] = sum(len(answers.read[r]) for r in val.tolist())
        amounts["answer_tokens"] = len(answers.tokens_of(val))
    validated = validation_cost(role, passes=end.validations, **amounts).flops
    assert paid.flops - less.flops == pytest.approx(validated + trunk_cost(role, amounts["tokens"]).flops)
    assert validated > 0
    assert paid.expert_evaluations == less.expert_evaluations


def test_a_store_from_before_ends_were_kept_is_good_and_they_are_unknown(patient):
    form, config, results, folder = patient
    for path in [p for k in ("experts", "students", "errors") for p in (folder / "store" / k).rglob("record.json")]:
        record = json.loads(path.read_text())
        record = {name: value for name, value in record.items() if name not in ("end", "validations")}
        path.write_text(json.dumps(record, sort_keys=True))
        manifest = path.parent / "manifest.json"
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {path.name: file_sha256(path)}))
    again = run(config, folder / "again", store_root=folder / "store")
    for old, new in zip(again.rows, results.rows, strict=True):
        assert old.parts == new.parts
        if old.condition == SINGLE_LONG:
            continue  # that patience ended the single expert is not known any more, so this one is trained
        assert old.trainings == (None,) * len(new.trainings)
        assert old.converged is None
    units = {"classes": 1, "words": 2}[form]  # it, and in words its answers on easy-val
    assert json.loads((folder / "again" / "timing.json").read_text())["stages"][1]["computed"] == units
