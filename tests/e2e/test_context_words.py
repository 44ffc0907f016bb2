"""A whole run in words whose members read a text of their own before each question, trained and untrained."""

import json

import pytest
import torch

from ensemw2s.config import parse_config
from ensemw2s.errors import ConfigError, DataError
from ensemw2s.export.ensembles.ensemble_folder import write_ensemble
from ensemw2s.export.ensembles.labeller import open_labeller
from ensemw2s.pipeline import export
from ensemw2s.pipeline.prepare import prepare
from ensemw2s.pipeline.run import run
from ensemw2s.pipeline.run_folder import read_results
from ensemw2s.pipeline.seeds.seed_work import SeedWork
from ensemw2s.services.planning.plan import make_plan
from ensemw2s.storage.store import Store
from tiny_run import merged, tiny_words_tree

METHODS = ["single", "contexts", "prompted"]


def behind(task_file, **changes):
    small = {
        "seeds": [0],
        "weak": {"n_layers": None},
        "ensemble": {"methods": METHODS, "n_rounds": 2, "context": {"n": 2}, "select_by": 2},
        "split": {"n_hard_unlabelled": 30, "n_id_test": 20, "n_ood_test": 20},
        "students": {"recipes": [{"labels": "soft", "teachers": ["contexts", "prompted"]}]},
    }
    tree = merged(tiny_words_tree(task_file), small)
    tree["students"] = small["students"]
    return parse_config(merged(tree, changes))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("contexts")


@pytest.fixture(scope="module")
def finished(place, task_file):
    """A run that was killed when its second context was being read, and called again."""
    config, put = behind(task_file), Store.put

    def dies(self, kind, key, tensors):
        if kind == "activations" and len(list((place / "store" / "experts").rglob("manifest.json"))) == 2:
            raise KeyboardInterrupt
        return put(self, kind, key, tensors)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "put", dies)
        with pytest.raises(KeyboardInterrupt):
            run(config, place / "run", store_root=place / "store")
    made = {p: p.stat().st_mtime_ns for p in place.rglob("manifest.json")}
    run(config, place / "run", store_root=place / "store")
    assert made
    assert all(p.stat().st_mtime_ns == time for p, time in made.items())
    return place / "run"


@pytest.fixture(scope="module")
def work(finished, place, task_file):
    """Its seed, of which all is in the store."""
    store = Store(place / "store")
    found = SeedWork(prepare(behind(task_file), store, lambda model, n: None), store, 0)
    for stage in (found.experts(), found.label()):
        for _ in stage:
            pass
    return found


def test_such_ensembles_have_rows_costs_students_and_a_plan(finished, work, task_file):
    rows = {row.key: row for row in read_results(finished).rows}
    assert {"contexts", "prompted", "student:contexts:xent-soft", "student:prompted:xent-soft"} <= rows.keys()
    assert rows["prompted"].cost.training_tokens == 0
    (contexts,) = work.prepared.contexts.values()
    easy, train = work.prepared.easy_answers(work.prepared.weak), work.context.draw.easy_train
    read = sum(len(easy.read[row]) for row in train.tolist()) + contexts.mean_tokens * len(train)
    epochs = work.config.expert_training.epochs
    assert rows["contexts"].cost.training_tokens == pytest.approx(2 * epochs * read)
    planned = {line.what: line for line in make_plan(behind(task_file), calibrated=False).lines}
    assert planned["an expert behind a context"].count == 2
    assert planned["an expert behind a context"].tokens == pytest.approx(epochs * read, rel=0.05)
    assert planned["an ensemble's pseudo-answers behind contexts"].count == 2


def test_demonstrations_are_answered_easy_questions_that_the_seed_uses_nowhere_else(work):
    split, draw = work.prepared.split, work.context.draw
    used = {*draw.easy_train.tolist(), *draw.easy_val.tolist()}
    spare = [row for row in split.pools["easy_pool"] if row not in used]
    known = {f"{split.examples[row].prompt} {split.easy_answers[row]}" for row in spare}
    shown = [line for p in work.prepared.contexts[0].prefixes for line in p.text.split("\n\n") if line]
    assert len(shown) == len(set(shown)) == 4
    assert set(shown) <= known


def test_what_nobody_trained_is_the_pretrained_model_behind_its_text(work):
    made = work.ensembles["prompted"]
    assert all(not expert.state for expert in made.voting)
    first, second = (expert.log_probs for expert in made.experts)
    assert not torch.allclose(first, second, atol=1e-3)
    role, prefix = work.prepared.weak, work.prepared.contexts[0].prefixes[0]
    answers = work.prepared.easy_answers(role).behind(prefix.ids, prefix.n_start)
    row = int(work.context.draw.easy_train[0])
    ids, n = answers.ids[row], answers.prompt_lengths[row]
    with torch.no_grad():
        states = role.backbone.model(torch.tensor([ids])).last_hidden_state[0, n - 1 : -1]
        log_probs = role.unembedding(states).log_softmax(-1)
    gold = log_probs.gather(1, torch.tensor(ids[n:])[:, None])
    torch.testing.assert_close(first[: len(gold)], gold, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ["contexts", "prompted"])
def test_a_saved_ensemble_answers_a_file_as_it_answered_in_the_run(method, work, finished, tmp_path):
    made, prepared = work.ensembles[method], work.prepared
    record = export._record(prepared, made, read_results(finished))
    write_ensemble(tmp_path, record, [expert.state for expert in made.voting])
    saved = json.loads((tmp_path / "ensemble.json").read_text())
    assert [text.count("\n\n") for text in saved["contexts"]] == [2, 2]
    assert saved["is_prompted"] == (method == "prompted")
    prompts = [prepared.split.examples[row].prompt for row in work.context.draw.hard_unlabelled.tolist()]
    labels = open_labeller(tmp_path).label(prompts)
    given = work.labels[method]
    assert [label["answer"] for label in labels] == list(given.texts)
    assert [label["members"] for label in labels] == [label["members"] for label in given.record["labels"]]
    assert [label["confidence"] for label in labels] == pytest.approx(given.confidence.tolist(), abs=1e-4)


def test_an_empty_principle_is_the_expert_that_reads_questions_alone(task_file, place):
    principles = {"kind": "principles", "principles": ["", "Think."]}
    methods = ["independent", "contexts"]
    config = behind(
        task_file,
        ensemble={"methods": methods, "context": principles},
        students={"recipes": [{"labels": "hard", "teachers": ["contexts"]}]},
    )
    store = Store(place / "store")
    found = SeedWork(prepare(config, store, lambda model, n: None), store, 0)
    for _ in found.experts():
        pass
    plain, behind_it = (found.ensembles[method].keys for method in methods)
    assert plain[0] == behind_it[0]
    assert plain[1] != behind_it[1]


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"ensemble": {"context": {"kind": "arguments", "n": 2}}}, ConfigError, "choose demonstrations or principles"),
        ({"ensemble": {"merges": ["linear"]}}, ConfigError, "members of contexts read different parts"),
        ({"ensemble": {"context": {"n": 20}}}, ConfigError, r"of the easy pool 20 are in no other part.*n_easy_pool"),
        ({"weak": {"n_layers": 2}}, ConfigError, r"weak.n_layers \(2\): .* first 2 of its 4 layers .* prompted out"),
        ({"weak": {"max_length": 50}}, DataError, r"behind context 0 of seed 0 .* more than max_length \(50\)"),
    ],
)
def test_what_cannot_be_read_in_words_is_named_before_any_work(changes, error, words, task_file, tmp_path):
    with pytest.raises(error, match=words):
        run(behind(task_file, **changes), tmp_path / "run", store_root=tmp_path / "store")
    assert not list((tmp_path / "store").rglob("experts"))
