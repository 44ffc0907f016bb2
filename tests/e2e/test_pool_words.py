"""A pool of weak models that answer in words: they vote on whole answers, in the run as in what it exports."""

import json

import pytest

from ensemw2s.config import parse_config
from ensemw2s.errors import ConfigError, ModelError
from ensemw2s.export.ensembles.ensemble_folder import read_ensemble_record
from ensemw2s.export.ensembles.labeller import open_labeller
from ensemw2s.export.opened import open_answerers
from ensemw2s.pipeline.prepare import prepare
from ensemw2s.pipeline.run import run
from ensemw2s.pipeline.tiny import tiny
from ensemw2s.services.planning.plan import make_plan
from ensemw2s.storage.store import Store
from tiny_families import make_merging
from tiny_run import comparison_rows, merged, tiny_words_tree

TINY = {"model": "tiny", "n_layers": 2, "adapter": "top", "top_layers": 1}
POOL = [TINY, TINY | {"n_layers": 3}]


def pooled(task_file, weak, **changes):
    tree = merged(
        tiny_words_tree(task_file),
        {
            "seeds": [0],
            "expert_training": {"epochs": 12},
            "ensemble": {
                "methods": ["single", "independent", "boosting"],
                "prior": 0.99,
                "n_rounds": 2,
                "n_folds": 2,
                "select_by": 2,
            },
            "split": {"n_hard_unlabelled": 30, "n_id_test": 20, "n_ood_test": 20},
            "generation": {"boost_unit": "sequence", "bootstrap": False},
            "students": {"recipes": [{"labels": "hard"}]},
        },
    )
    return parse_config(merged(tree, changes) | {"weak": weak})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("pool-words")


@pytest.fixture(scope="module")
def config(place, task_file):
    """Of two members, one of which reads bytes, and the other another family's merges of them."""
    merging = make_merging(place / "merging", [row["q"] + " yes no" for row in comparison_rows()])
    return pooled(task_file, [TINY, TINY | {"model": str(merging), "max_length": 60}])


@pytest.fixture(scope="module")
def finished(place, config):
    return run(config, place / "run", store_root=place / "store")


def labels_in_store(place):
    references = json.loads((place / "run" / "stages" / "labels.json").read_text())["artifacts"]
    store = Store(place / "store")
    return [store.load("labels", each["key"]).record for each in references if each["kind"] == "labels"]


def test_a_round_takes_a_member_and_the_members_vote_on_whole_answers(finished, place):
    traces = {trace.method: trace.rounds for trace in finished.ensembles}
    assert [r.member for r in traces["independent"]] == [finished.config["weak"][k]["model"] for k in (0, 1)]
    for each in traces["boosting"]:
        assert each.considered[str(each.member)] == min(each.considered.values())
    # A vote on whole answers knows no likelihood of the true one; of one model alone it is known.
    chosen = {trace.method: trace.selected for trace in finished.ensembles}
    for method, rounds in chosen.items():
        figures = {"accuracy"} if rounds > 1 else {"accuracy", "log_loss", "token_error"}
        assert set(finished.row(method).parts["ood_test"]) == figures
    assert chosen["independent"] > 1, "or nothing of this is tested"
    for record in labels_in_store(place):
        for label in record["labels"]:
            given = label["members"]
            assert label["answer"] in given
            assert label["agreement"] == pytest.approx(given.count(label["answer"]) / len(given))


def test_the_saved_pool_answers_as_in_the_run(finished, place, config):
    record = read_ensemble_record(place / "run")
    kept = next(each for each in labels_in_store(place) if tuple(each["expert_ids"]) == record.expert_ids)
    split = prepare(config, Store(place / "store"), lambda model, n: None).split
    by_id = {e.id: e.prompt for e in split.examples}
    labels = open_labeller(place / "run").label([by_id[i] for i in kept["ids"]])
    assert [label["answer"] for label in labels] == [label["answer"] for label in kept["labels"]]
    assert [label["members"] for label in labels] == [label["members"] for label in kept["labels"]]
    for made, there in zip(labels, kept["labels"], strict=True):
        assert made["confidence"] == pytest.approx(there["confidence"], abs=1e-4)


def test_such_a_pool_is_not_served_token_by_token(finished, place):
    assert list(open_answerers(place / "run")) == ["student"]
    with pytest.raises(ModelError, match="vote on whole answers"):
        open_answerers(place / "run" / "ensemble")


def test_a_finished_pool_is_read_from_the_store_and_a_killed_one_goes_on(finished, place, config, monkeypatch):
    plain, made = Store.memo, []

    def dies(self, kind, key, compute):
        def counted():
            made.append(key)
            if len(made) == 14:
                raise KeyboardInterrupt
            return compute()

        return plain(self, kind, key, counted)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "memo", dies)
        with pytest.raises(KeyboardInterrupt):
            run(config, place / "killed", store_root=place / "other")
    done = {p: p.stat().st_mtime_ns for p in (place / "other").rglob("manifest.json")}
    assert run(config, place / "killed", store_root=place / "other") == finished
    assert all(p.stat().st_mtime_ns == t for p, t in done.items())
    with monkeypatch.context() as patch:
        patch.setattr(Store, "memo", lambda self, kind, key, compute: plain(self, kind, key, lambda: pytest.fail(kind)))
        assert run(config, place / "again", store_root=place / "store") == finished


def test_a_pool_of_one_model_twice_is_that_model_alone_for_one_expert(place, task_file):
    one = {"ensemble": {"methods": ["single"]}}
    alone = run(pooled(task_file, POOL[1], **one), place / "one", store_root=place / "store")
    twice = run(pooled(task_file, [POOL[1], POOL[1]], **one), place / "twice", store_root=place / "store")
    assert [row.parts for row in twice.rows] == [row.parts for row in alone.rows]


def test_plan_counts_a_pool_and_tiny_runs_it(place, task_file):
    config = pooled(task_file, POOL)
    count = {(line.what, line.role): line.count for line in make_plan(config, calibrated=False).lines}
    # Alone, and in the second round of independent members and of boosting, which may take either.
    assert (count["an expert", "weak.0"], count["an expert", "weak.1"]) == (1 + 1, 1 + 1)
    assert count["an expert's answers", "weak.1"] == count["an expert", "weak.1"]
    assert tiny(config).generation.boost_unit == "sequence"
    run(tiny(config), place / "tiny", store_root=place / "tiny-store")


@pytest.mark.parametrize(
    ("weak", "changes", "message"),
    [
        (POOL, {"generation": {"boost_unit": "token"}}, "boost_unit"),
        (POOL, {"ensemble": {"vote": "log"}}, "vote on whole answers"),
        (POOL[0], {"ensemble": {"vote": "hard"}}, "next-token distributions"),
        ([POOL[0], "tf-idf"], {}, "cannot write"),
    ],
)
def test_what_a_pool_in_words_cannot_be_is_refused(task_file, weak, changes, message):
    with pytest.raises(ConfigError, match=message):
        pooled(task_file, weak, **changes)
