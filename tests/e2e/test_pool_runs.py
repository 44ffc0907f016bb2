"""Whole runs with a pool of weak models: what is taken, exported, kept in the store, and gone on with after a kill."""

import json
import shutil

import pytest
import torch

from ensemw2s.config import parse_config
from ensemw2s.errors import ModelError
from ensemw2s.export.ensembles.ensemble_folder import read_ensemble_record
from ensemw2s.export.ensembles.labeller import open_labeller, open_reader
from ensemw2s.models import activations
from ensemw2s.pipeline import run as runner
from ensemw2s.pipeline.run import run
from ensemw2s.pipeline.tiny import tiny
from ensemw2s.report.page import render
from ensemw2s.results import Results
from ensemw2s.services.planning.plan import make_plan
from ensemw2s.storage import checksums
from ensemw2s.storage.files import write_atomic
from tiny_run import merged, tiny_tree

POOL = ["tf-idf", {"model": "tiny", "n_layers": 2}, {"model": "tiny", "n_layers": 4, "adapter": "top", "top_layers": 1}]
FOUR = ["single", "independent", "bagging", "boosting"]


def pooled(task_file, weak=POOL, **ensemble):
    changes = {
        "seeds": [0],
        "students": {"recipes": [{}, {"label_model": "dawid-skene"}], "method": "auto"},
        "ensemble": {"methods": FOUR, "prior": 0.9, "n_rounds": 3, "n_folds": 2} | ensemble,
    }
    return parse_config(merged(tiny_tree(task_file), changes) | {"weak": weak})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("pool")


@pytest.fixture(scope="module")
def finished(place, task_file) -> Results:
    return run(pooled(task_file), place / "run", store_root=place / "store")


def test_a_run_says_which_member_each_round_took_and_how_good_each_is_alone(finished, place):
    names = ["tf-idf", "tiny[1]", "tiny[2]"]
    assert [member.name for member in finished.pool] == names
    traces = {trace.method: trace.rounds for trace in finished.ensembles}
    assert [r.member for r in traces["independent"]] == [r.member for r in traces["bagging"]] == names
    (single,) = traces["single"]
    alone = {member.name: member.accuracy["easy_val"] for member in finished.pool}
    assert single.considered == pytest.approx(alone)
    assert single.member == max(alone, key=alone.__getitem__)
    for each in traces["boosting"]:
        assert each.considered[str(each.member)] == min(each.considered.values()) == pytest.approx(each.weighted_error)
    for method, rounds in traces.items():
        assert {m.name: m.taken[method] for m in finished.pool} == {
            n: [r.member for r in rounds].count(n) for n in names
        }
    page = render(finished, None)
    assert "The pool of weak models" in page
    assert "TF-IDF of words and pairs of words" in page
    assert finished.weak.startswith("a pool of 3: TF-IDF")
    # To know the best member all are trained, and every boosted round tries each on folds.
    flops = {method: finished.row(method).cost.flops for method in FOUR}
    assert flops["boosting"] > flops["independent"] > 0


def test_the_saved_ensemble_labels_as_in_the_run_with_the_models_that_its_experts_read(finished, place, task_file):
    record = read_ensemble_record(place / "run")
    references = json.loads((place / "run" / "stages" / "labels.json").read_text())["artifacts"]
    store = runner.Store(place / "store")
    kept = next(
        artifact
        for artifact in (store.load("labels", each["key"]) for each in references)
        if tuple(artifact.record["expert_ids"]) == record.expert_ids
    )
    split = runner.prepare(pooled(task_file), store, lambda model, n: None).split
    by_id = {e.id: e.prompt for e in split.examples}
    labeller, prompts = open_labeller(place / "run"), [by_id[i] for i in kept.record["ids"]]
    soft = torch.tensor([list(one["probability"].values()) for one in labeller.label(prompts)])
    assert torch.allclose(soft, kept.tensors["soft"], atol=1e-5)
    models = [record.weak, *(other.config for other in record.others)]
    assert len(models) > 1
    assert len(open_reader(place / "run").readers) == sum(not model.is_tfidf for model in models)
    assert labeller.sizes(["a" * 600])[0][1].startswith("its prompt has 600 tokens")


def test_a_finished_pool_is_read_from_the_store_and_a_killed_one_goes_on(finished, place, task_file, monkeypatch):
    kinds = ("experts", "errors", "students", "activations")
    made = {p: p.stat().st_mtime_ns for kind in kinds for p in (place / "store" / kind).rglob("manifest.json")}
    assert run(pooled(task_file), place / "again", store_root=place / "store") == finished
    assert made == {p: p.stat().st_mtime_ns for kind in kinds for p in (place / "store" / kind).rglob("manifest.json")}
    plain, trained = runner.Store.memo, []

    def dies(self, kind, key, compute):
        def counted():
            trained.append(key)
            if len(trained) == 12:  # among the folds of boosting
                raise KeyboardInterrupt
            return compute()

        return plain(self, kind, key, counted)

    with monkeypatch.context() as patch:
        patch.setattr(runner.Store, "memo", dies)
        with pytest.raises(KeyboardInterrupt):
            run(pooled(task_file), place / "killed", store_root=place / "other")
    done = {p: p.stat().st_mtime_ns for p in (place / "other").rglob("manifest.json")}
    assert any("errors" in p.parts for p in done)
    assert run(pooled(task_file), place / "killed", store_root=place / "other") == finished
    assert all(p.stat().st_mtime_ns == t for p, t in done.items())


def test_a_list_of_one_is_the_model_itself(place, task_file):
    one = {"model": "tiny", "n_layers": 2}
    listed, plain = pooled(task_file, [one], methods=["single"]), pooled(task_file, one, methods=["single"])
    assert listed == plain
    run(plain, place / "plain", store_root=place / "one")
    before = sorted((place / "one").rglob("*"))
    run(listed, place / "listed", store_root=place / "one")
    assert sorted((place / "one").rglob("*")) == before
    for name in ("results.json", "items.safetensors", "config.yaml", "ensemble/ensemble.json"):
        assert (place / "plain" / name).read_bytes() == (place / "listed" / name).read_bytes()


def test_the_strong_model_itself_may_be_a_member_and_one_pass_gives_both(place, task_file, monkeypatch):
    passes = []
    plain = activations.pooled_features
    monkeypatch.setattr(activations, "pooled_features", lambda *a, **k: passes.append(a[2]) or plain(*a, **k))
    weak = [{"model": "tiny", "n_layers": 2}, {"model": "tiny", "n_layers": 4}]
    results = run(pooled(task_file, weak, methods=["boosting"]), place / "own", store_root=place / "own-store")
    assert {tuple(depths) for depths in passes} == {(2, 4)}
    assert any("strong model itself is a member" in note for note in results.notes)


def test_words_alone_can_teach(place, task_file):
    config = pooled(task_file, "tf-idf", methods=["single", "boosting"])
    results = run(config, place / "words", store_root=place / "words-store")
    assert results.pool == ()
    assert open_labeller(place / "words").label(["Is 9 above 1?"])[0]["answer"] in ("yes", "no")
    assert make_plan(config, calibrated=False).lines


def test_the_plan_counts_every_member_and_folds_of_all(finished, task_file):
    plan = make_plan(pooled(task_file), calibrated=False)
    count = {(line.what, line.role): line.count for line in plan.lines}
    # Alone, and in two rounds of bagging and one of independent (its first is the one alone); boosting's later rounds.
    assert count["an expert", "weak.1"] == 1 + 1 + 1
    assert count["an expert", "weak.2"] == 1 + 1 + 1 + 2
    assert count["its like on folds", "weak.1"] == count["its like on folds", "weak.2"] == 2 * 3
    assert any("TF-IDF" in note for note in plan.notes)


def test_the_tiny_run_keeps_the_kinds_of_members(task_file):
    small = tiny(pooled(task_file))
    assert [(m.model, m.adapter) for m in small.pool] == [("tf-idf", "head"), ("tiny", "head"), ("tiny", "top")]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r["models"].pop(), "models has"),
        (lambda r: r["models"].__setitem__(0, 7), "are not the numbers of"),
        (lambda r: r.update(models=None), "models is missing"),
        (lambda r: r["others"][0].update(fingerprint="0" * 64), "not the weights|do not fit|damaged"),
    ],
)
def test_a_saved_pool_that_fits_no_models_is_refused(finished, place, tmp_path, change, words):
    folder = shutil.copytree(place / "run" / "ensemble", tmp_path / "ensemble")
    record = json.loads((folder / "ensemble.json").read_text())
    change(record)
    (folder / "ensemble.json").write_text(json.dumps(record))
    write_atomic(folder / checksums.FILE, checksums.checksums_of(folder, ("ensemble.json", "experts.safetensors")))
    with pytest.raises(ModelError, match=words):
        open_labeller(folder)
