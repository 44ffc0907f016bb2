"""Whole runs whose members read a text of their own before each question, trained and untrained."""

import json
from dataclasses import replace

import pytest
import torch

from ensemw2s.errors import ConfigError, DataError, ModelError
from ensemw2s.export.ensembles.ensemble_folder import write_ensemble
from ensemw2s.export.ensembles.labeller import open_labeller, open_reader
from ensemw2s.forms.classification.strong.in_context import InContext
from ensemw2s.forms.classification.weak import writing
from ensemw2s.forms.prepare import spare_rows
from ensemw2s.forms.prepared import SeedContext
from ensemw2s.pipeline import export
from ensemw2s.pipeline import run as runner
from ensemw2s.pipeline.prepare import check
from ensemw2s.pipeline.run import run
from ensemw2s.pipeline.run_folder import read_results
from ensemw2s.pipeline.seeds.seed_work import SeedWork
from ensemw2s.pipeline.tiny import tiny
from ensemw2s.prompting import ids_behind_each
from ensemw2s.services.planning.plan import make_plan
from tiny_run import comparison_rows, write_jsonl

BOTH = ["contexts", "prompted"]
SHARED = ["single", *BOTH]


def small(tiny_config, methods=BOTH, **changes):
    context = changes.pop("context", {"n": 4})
    base = {"seeds": [0], "weak": {"n_layers": None}, "students": {"recipes": [{}], "in_context": 4}}
    ensemble = {"methods": methods, "n_rounds": 3, "context": context}
    return tiny_config(**(base | changes), ensemble=ensemble)


def artifacts(folder, store, stage, kind=None):
    kept = runner.Store(store)
    made = json.loads((folder / "stages" / f"{stage}.json").read_text())["artifacts"]
    return [(a["key"], kept.load(a["kind"], a["key"]).tensors) for a in made if kind in (None, a["kind"])]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("contexts")


@pytest.fixture
def finished(place, tiny_config):
    """One finished run, with its store, that the tests share."""
    if not (place / "run" / "results.json").exists():
        run(small(tiny_config, SHARED), place / "run", store_root=place / "store")
    return place / "run", place / "store"


def test_rows_costs_and_plan_of_members_with_contexts(finished, tiny_config):
    results, config = read_results(finished[0]), small(tiny_config, SHARED)
    keys = {row.key for row in results.rows}
    assert {"contexts", "prompted", "student:contexts:xent-soft", "student:prompted:xent-soft"} <= keys
    cost = {key: results.row(key).cost for key in BOTH}
    assert cost["prompted"].training_tokens == 0
    # What is trained reads its context before each question in every epoch; the trunk reads each context once.
    (contexts,) = prepared_run(config, finished[1]).contexts.values()
    rows = results.task.sizes["easy_train"] * config.expert_training.epochs
    trunk = contexts.role.trunk_flops * sum(contexts.n_read(t, is_asked=True) for t in range(3))
    assert cost["prompted"].flops == pytest.approx(trunk)
    read = rows * (contexts.mean_tokens + float(contexts.role.lengths.double().mean()))
    assert cost["contexts"].training_tokens == pytest.approx(3 * read, rel=0.02)
    plan = make_plan(config, calibrated=False)
    planned = {line.what: line for line in plan.lines}
    assert planned["an expert behind a context"].count == 3
    assert planned["an expert behind a context"].tokens == pytest.approx(read, rel=0.02)
    passes = [line for line in plan.lines if line.what == "the trunk reads all examples behind a context"]
    assert [line.count for line in passes] == [3, 3]  # what is asked reads the space before both choices, too
    assert passes[1].flops == pytest.approx(trunk / 3, rel=1e-3)


def prepared_run(config, store):
    return runner.prepare(config, runner.Store(store), lambda model, n: None)


def labelled(config, store):
    """A seed whose ensembles are trained and have labelled."""
    work = SeedWork(prepared_run(config, store), runner.Store(store), 0)
    for stage in (work.experts(), work.label()):
        for _ in stage:
            pass
    return work


def kept_by(work, store, kind):
    return [(key, runner.Store(store).load(kind, key).tensors) for of, key in work.context.used if of == kind]


def assert_same(found, expected):
    assert len(found) == len(expected) >= 3
    for (key, tensors), (other_key, others) in zip(found, expected, strict=True):
        assert key == other_key
        assert all(torch.equal(tensors[name], others[name]) for name in tensors)


def test_demonstrations_are_rows_that_the_seed_uses_nowhere_else(tiny_config, tmp_path):
    prepared = prepared_run(small(tiny_config, seeds=[0, 1]), tmp_path / "store")
    split = prepared.split
    for seed in (0, 1):
        draw, spare = split.draw(seed), set(spare_rows(split, split.draw(seed)).tolist())
        assert spare <= set(split.pools["easy_pool"])
        assert not spare & {*draw.easy_train.tolist(), *draw.easy_val.tolist()}
        contexts = prepared.contexts[seed]
        shown = [line for t in range(3) for line in contexts.context(t).prefix.split("\n\n") if line]
        known = {f"{split.examples[row].prompt} {split.easy_answers[row]}" for row in spare}
        assert len(shown) == len(set(shown)) == 12
        assert set(shown) <= known


def test_an_empty_context_uncalibrated_is_the_zero_shot_model_to_the_bit(tiny_config, tmp_path):
    principles = {"kind": "principles", "principles": ["", "Think.", ""], "calibrate": "none"}
    prepared = prepared_run(small(tiny_config, ["prompted"], context=principles), tmp_path / "store")
    contexts, (role,), rows = prepared.contexts[0], prepared.pool, torch.arange(50)
    said = [contexts.ask(t, rows) for t in range(3)]
    assert torch.equal(said[0], said[2])
    assert not torch.allclose(said[0], said[1], atol=1e-3)
    # Of these choices both begin with the byte of the space, which is read with the question.
    likelihood = contexts._likelihood
    (space,) = likelihood.shared
    ids = [[*role.backbone.tokenizer(prepared.split.examples[row].prompt)["input_ids"], space] for row in rows.tolist()]
    with torch.no_grad():
        states = torch.stack([role.backbone.model(torch.tensor([one])).last_hidden_state[0, -1] for one in ids])
    torch.testing.assert_close(said[0], likelihood(states), rtol=1e-4, atol=1e-5)
    # Without it, what is asked is the strong model's own zero-shot row.
    contexts.__dict__["_likelihood"] = replace(likelihood, shared=())
    zero_shot = likelihood(role.last.batch(rows)[0][:, 0])
    assert torch.equal(contexts.ask(0, rows), zero_shot)


@pytest.mark.parametrize("method", BOTH)
def test_a_saved_ensemble_reads_its_contexts_before_the_prompts_that_it_labels(method, finished, tiny_config, tmp_path):
    work = labelled(small(tiny_config, SHARED), finished[1])
    made = work.ensembles[method]
    record = export._record(work.prepared, made, read_results(finished[0]))
    write_ensemble(tmp_path / "run" / "ensemble", record, [expert.state for expert in made.voting])
    record = json.loads((tmp_path / "run" / "ensemble" / "ensemble.json").read_text())
    assert all(text.count("\n\n") == 4 for text in record["contexts"])
    split, labeller = work.prepared.split, open_labeller(tmp_path / "run")
    prompts = [split.examples[row].prompt for row in split.draw(0).hard_unlabelled.tolist()]
    soft = torch.tensor([list(one["probability"].values()) for one in labeller.label(prompts)])
    torch.testing.assert_close(soft, work.labels[method].soft, rtol=1e-4, atol=1e-5)
    ((size, reason), (_, refused)) = labeller.sizes([prompts[0], "x" * 500])
    assert (size, reason) == (len(prompts[0]), "")
    assert "at most" in refused
    assert open_reader(tmp_path / "run").sizes(["x" * 500]) == [(500, refused)]
    more = [*record["contexts"], "one more"]
    for words, changed in (
        ("contexts has", record | {"contexts": more}),
        ("contexts is missing", record | {"contexts": None, "is_prompted": True}),
        ("without chat turns", record | {"weak": record["weak"] | {"chat": True}}),
    ):
        (tmp_path / "run" / "ensemble" / "ensemble.json").write_text(json.dumps(changed))
        with pytest.raises(ModelError, match=words):
            open_labeller(tmp_path / "run")


def test_flipping_every_sealed_label_changes_no_member_that_reads_contexts(finished, tiny_config, tmp_path):
    rows, other = comparison_rows(), {"yes": "no", "no": "yes"}
    sealed = {e.id for e in prepared_run(small(tiny_config), finished[1]).split.examples if e.answer is None}
    flipped = [r | {"answer": other[r["answer"]]} if r["id"] in sealed else r for r in rows]
    file = write_jsonl(tmp_path / "flipped.jsonl", flipped)
    store = tmp_path / "store"
    work = labelled(small(tiny_config, SHARED, task={"path": str(file)}), store)
    assert_same(kept_by(work, store, "experts"), artifacts(*finished, "experts"))
    work.form.students.in_context(work.context, work.labels)
    assert_same(kept_by(work, store, "in_context"), artifacts(*finished, "students", "in_context"))


def test_an_interrupted_run_goes_on_where_it_was(finished, tiny_config, tmp_path, monkeypatch):
    config, store = small(tiny_config, SHARED), tmp_path / "store"
    plain = runner.Store.put

    def dies(self, kind, key, tensors):
        if kind == "activations" and len(list((store / "experts").rglob("manifest.json"))) == 3:
            raise KeyboardInterrupt  # while the third context is read
        return plain(self, kind, key, tensors)

    with monkeypatch.context() as patch:
        patch.setattr(runner.Store, "put", dies)
        with pytest.raises(KeyboardInterrupt):
            labelled(config, store)
    times = {p: p.stat().st_mtime_ns for p in store.rglob("manifest.json")}
    assert_same(kept_by(labelled(config, store), store, "experts"), artifacts(*finished, "experts"))
    assert all(p.stat().st_mtime_ns == t for p, t in times.items())


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"context": {"n": 20}}, ConfigError, "raise split.n_easy_pool"),
        ({"weak": {"n_layers": 2}}, ConfigError, r"weak.n_layers \(2\): .* first 2 of its 4 layers .* prompted out"),
        (
            {"weak": {"n_layers": None, "max_length": 60}},
            DataError,
            r"behind context 0 of seed 0 .* more than max_length \(60\)",
        ),
    ],
)
def test_what_cannot_be_read_is_named_before_any_work(changes, error, words, tiny_config, tmp_path):
    with pytest.raises(error, match=words):
        run(small(tiny_config, **changes), tmp_path / "run", store_root=tmp_path / "store")
    assert not list((tmp_path / "store").rglob("experts"))


def test_a_tiny_run_has_contexts_of_its_own_size(tiny_config, tmp_path):
    config = tiny(small(tiny_config, context={"n": 8}, weak={"n_layers": 4}))
    results = run(config, tmp_path / "run", store_root=tmp_path / "store")
    assert {"contexts", "prompted"} <= {row.key for row in results.rows}


def test_the_untrained_strong_model_is_shown_weak_labels_of_each_method(finished, tiny_config):
    folder, store = finished
    results, prepared = read_results(folder), prepared_run(small(tiny_config, SHARED), store)
    rows = {row.key: row for row in results.rows}
    assert rows["in_context:prompted"].label == "strong model, untrained, shown labels of the prompted ensemble"
    assert rows["in_context:prompted"].kind == "shown"
    assert ("in_context:single", "strong_on_easy") in {(c.row, c.baseline) for c in results.comparisons}
    hard = prepared.split.draw(0).hard_unlabelled.tolist()
    (_, kept), *_ = artifacts(folder, store, "labels")
    seed = SeedContext(0, prepared.split.draw(0), runner.Store(store))
    shown = InContext(prepared, seed, 4).before(kept["soft"]).split("\n\n")[:-1]
    answers = [("no", "yes")[k] for k in kept["soft"].argmax(-1).tolist()]
    said = [f"{prepared.split.examples[row].prompt} {answer}" for row, answer in zip(hard, answers, strict=True)]
    assert len(set(shown)) == 4
    assert set(shown) <= set(said)
    assert said[int(kept["soft"].amax(-1).argmax())] in shown
    cost = {key: rows[key].cost for key in ("single", "in_context:single")}
    assert cost["in_context:single"].training_tokens == cost["single"].training_tokens
    plan = {line.what: line for line in make_plan(small(tiny_config, SHARED), calibrated=False).lines}
    paid = cost["in_context:single"].flops - cost["single"].flops
    assert plan["the strong model behind weak labels"].flops == pytest.approx(paid, rel=0.1)


def test_arguments_are_written_once_and_stay_with_the_run(finished, tiny_config, tmp_path):
    config, store = written(tiny_config, "arguments"), finished[1]
    results = run(config, tmp_path / "run", store_root=store)
    contexts = prepared_run(config, store).contexts[0]
    # Contexts have no part in the key of an expert that reads none.
    assert artifacts(tmp_path / "run", store, "experts")[0][0] == artifacts(*finished, "experts")[0][0]
    records = [json.loads(p.read_text()) for p in (store / "written").rglob("record.json")]
    n_all = len(contexts.role.lengths)
    assert sum(len(record["texts"]) for record in records) == 2 * n_all
    one, other = (contexts.context(t).texts[0].split("\n") for t in range(2))
    assert one[:2] == other[:2][::-1]
    assert [line.split(" because ")[0] for line in one[:2]] == ["no", "yes"]
    spent = [sum(record[name] for record in records) for name in ("read", "written")]
    trunk = sum(contexts.role.trunk_flops * contexts.n_read(t, is_asked=False) for t in range(2))
    assert results.row("contexts").cost.flops > trunk + contexts.writer.flops(*spent)
    assert any("may argue for what it wants" in note and "the best of the others" in note for note in results.notes)
    assert json.loads((tmp_path / "run" / "ensemble" / "ensemble.json").read_text())["method"] == "single"
    planned = {line.what: line for line in make_plan(config, calibrated=False).lines}
    assert planned["contexts are written"].tokens == spent[0]
    assert planned["contexts are written"].flops >= contexts.writer.flops(*spent)


def test_each_member_has_a_fact_of_its_own_and_a_kill_costs_one_shard_of_them(tiny_config, tmp_path, monkeypatch):
    small_split = dict.fromkeys(("n_hard_pool", "n_hard_unlabelled", "n_id_test", "n_ood_test"), 16)
    small_split |= {"n_easy_pool": 24, "n_easy_train": 16, "n_easy_val": 8}
    config = written(tiny_config, "knowledge", split=small_split, cache={"shard_rows": 30})
    plain, asked = writing.decode, []

    def dies(*arguments, **settings):
        asked.append(len(arguments[3]))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return plain(*arguments, **settings)

    monkeypatch.setattr(writing, "decode", dies)
    contexts = prepared_run(config, tmp_path / "store").contexts[0]
    with pytest.raises(KeyboardInterrupt):
        contexts.context(0)
    contexts = prepared_run(config, tmp_path / "store").contexts[0]
    one, other = (contexts.context(t).texts for t in range(2))
    n = len(contexts.role.lengths)
    assert asked == [30, 30, 30, n - 60, 30, 30, n - 60]
    assert len(one) == n
    assert all(text.startswith("A relevant fact: ") for text in (*one, *other))
    assert one != other
    said = contexts.ask(0, torch.arange(3))
    ids = ids_behind_each(contexts.role.backbone.tokenizer, one[:3], contexts._source.questions[:3])
    with torch.no_grad():
        states = [
            contexts.role.backbone.model(torch.tensor([[*each, *contexts._likelihood.shared]])).last_hidden_state[0, -1]
            for each in ids
        ]
    torch.testing.assert_close(said, contexts._likelihood(torch.stack(states)), rtol=1e-4, atol=1e-5)


def written(tiny_config, kind, **changes):
    return tiny_config(
        seeds=[0],
        weak={"n_layers": None},
        ensemble={"methods": ["single", "contexts"], "n_rounds": 2, "context": {"kind": kind}},
        students={"recipes": [{}]},
        **changes,
    )


def test_an_ensemble_that_could_not_be_exported_needs_one_beside_it_that_can(tiny_config):
    config = tiny_config(ensemble={"methods": ["contexts"], "context": {"kind": "arguments"}})
    with pytest.raises(ConfigError, match="no ensemble of it could be exported; add a method"):
        check(config)
