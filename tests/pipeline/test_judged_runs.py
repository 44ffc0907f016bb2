"""Judges in a whole tiny run: rows, costs, the curve, resuming, sealed labels, refusals, the plan."""

import json

import pytest
import torch

from ensemw2s.config import canonical_hash, parse_config
from ensemw2s.errors import ConfigError
from ensemw2s.evaluation.costs import NOTHING
from ensemw2s.forms.generation.judging.training import JudgedPair, easy_pairs, judges_of_pairs
from ensemw2s.pipeline.prepare import check, prepare
from ensemw2s.pipeline.run import run
from ensemw2s.pipeline.seeds.seed_work import SeedWork
from ensemw2s.pipeline.seeds.students import train_students
from ensemw2s.services.leaderboard.methods import with_methods
from ensemw2s.services.planning.plan import make_plan
from ensemw2s.storage.store import Store
from tiny_run import merged, tiny_tree, tiny_words_tree

JUDGED = "student:single:xent-hard-judged"


def judged_tree(task_file, **judges):
    small = {
        "seeds": [0],
        "ensemble": {"methods": ["single"], "n_rounds": 1},
        "split": {"n_easy_train": 30, "n_easy_val": 20, "n_hard_unlabelled": 30, "n_id_test": 12, "n_ood_test": 12},
        "generation": {"samples": 3},
        "judges": {"kind": "trained", "n_judges": 2, "n_negatives": 2} | judges,
        "students": {
            "recipes": [
                {"labels": "hard", "teachers": ["single"]},
                {"labels": "hard", "label_model": "judged", "teachers": ["single"]},
            ]
        },
    }
    return merged(tiny_words_tree(task_file), small)


@pytest.fixture(scope="module")
def config(task_file):
    return parse_config(judged_tree(task_file, at_test=True))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("judges")


@pytest.fixture(scope="module")
def finished(place, config):
    return run(config, place / "run", store_root=place / "store")


def seed_of(config, store):
    made = SeedWork(prepare(config, store, lambda m, n: None), store, 0)
    for stage in (made.experts(), made.label(), train_students(made)):
        for _ in stage:
            pass
    return made


@pytest.fixture(scope="module")
def work(config, place, finished):
    """The finished run's seed, from its store."""
    return seed_of(config, Store(place / "store"))


def test_a_run_has_rows_of_judges_their_costs_and_the_curve(finished, place):
    rows = {row.key: row for row in finished.rows}
    plain = rows["student:single:xent-hard"]
    assert rows[JUDGED].label.endswith("trained on hard labels by judges")
    assert rows[JUDGED].cost.flops > plain.cost.flops
    best, commonest = rows["best_of_n:single:xent-hard"], rows["majority_of_n:single:xent-hard"]
    assert best.label == f"{plain.label}, best of its samples by judges"
    assert best.cost.flops > commonest.cost.flops > plain.cost.flops
    assert {"best_of_n", "majority_of_n"} < set(rows)
    assert ("best_of_n", "majority_of_n") in {(c.row, c.baseline) for c in finished.comparisons}
    assert [curve.teacher for curve in finished.best_of_n] == ["single", "self"]
    for curve in finished.best_of_n:
        assert [point.n for point in curve.points] == [1, 2, 3]
        one = curve.points[0]
        assert one.judged == one.majority == one.any
        assert all(max(p.judged.mean, p.majority.mean) <= p.any.mean for p in curve.points)
    page = (place / "run" / "report.html").read_text(encoding="utf-8")
    assert "Do judges find the right one of several answers?" in page


def test_a_run_again_judges_nothing_twice_and_one_that_was_killed_ends_alike(
    finished, place, config, monkeypatch, tmp_path
):
    used = json.loads((place / "run" / "stages" / "students.json").read_text())["artifacts"]
    lost = [a for a in used if a["kind"] in ("judges", "judgements")]
    assert {a["kind"] for a in lost} == {"judges", "judgements"}
    store = Store(place / "store")
    before = {a["key"]: store.load(a["kind"], a["key"]).tensors for a in lost}
    for a in lost[::2]:
        store.discard(a["kind"], a["key"])
    (place / "run" / "results.json").unlink()
    assert run(config, place / "run", store_root=place / "store") == finished
    for a in lost:
        again = store.load(a["kind"], a["key"]).tensors
        assert all(torch.equal(tensor, again[name]) for name, tensor in before[a["key"]].items())
    monkeypatch.setattr(Store, "save", None)  # nothing is left to be kept
    (place / "run" / "results.json").unlink()
    assert run(config, place / "run", store_root=place / "store") == finished


def test_flipped_sealed_labels_change_no_judge_and_no_student(task_file, work, tmp_path):
    rows = [json.loads(line) for line in task_file.read_text().splitlines()]
    split = work.prepared.split
    sealed = {e.id for e in split.examples[len(split.easy_answers) :]}
    flip = {"yes": "no", "no": "yes"}
    flipped = tmp_path / "flipped.jsonl"
    lines = [row | {"answer": flip[row["answer"]]} if row["id"] in sealed else row for row in rows]
    flipped.write_text("".join(json.dumps(row) + "\n" for row in lines), encoding="utf-8")
    tree = judged_tree(flipped, at_test=True)
    other = seed_of(parse_config(tree), Store(tmp_path / "store"))
    for condition, outcome in work.outcomes.items():
        if condition.kind in ("student", "strong_on_easy"):
            assert outcome.key == other.outcomes[condition].key
        if condition.kind in ("best_of_n", "majority_of_n"):
            assert outcome.voters.texts == other.outcomes[condition].voters.texts
    assert work.judges.deciding == other.judges.deciding


def test_judges_learn_true_against_wrong_answers_of_the_same_question(work):
    prepared, context = work.prepared, work.context
    first = work.outcomes[next(c for c in work.outcomes if c.key == "single")].voters
    pairs, _ = easy_pairs(prepared, context, first, context.draw.easy_train)
    truth = {prepared.split.examples[r].prompt: prepared.split.easy_answers[r] for r in range(120)}
    assert pairs
    for pair in pairs:
        assert pair.better == truth[pair.prompt]
        assert pair.worse.strip()
        assert pair.worse != pair.better
    many = [JudgedPair(p, a, b, str(i % 7)) for i, (p, a, b, _) in enumerate(pairs)]
    made, cost = judges_of_pairs(prepared, context, many, [])  # a fifth of the groups chooses the penalty
    assert made.shape == (2, prepared.strong.backbone.feature_size)
    assert cost.flops > 0


@pytest.mark.parametrize("kind", ["likelihood", "principles"])
def test_judges_that_learn_nothing_say_the_same_whatever_they_are_asked_beside(kind, task_file, work, tmp_path):
    from ensemw2s.forms.generation.judging.judges import by_likelihood, by_principles

    on_easy = work.outcomes[next(c for c in work.outcomes if c.kind == "strong_on_easy")].voters
    made = {"likelihood": lambda: by_likelihood(work.prepared, work.context, on_easy)}
    made["principles"] = lambda: by_principles(work.prepared, work.context)
    judges = made[kind]()
    prompts, answers = ["Is 3 above 5?", "Is 9 above 1?"], [["no", "yes"], ["yes", "perhaps not", "no"]]
    both = judges.judge(prompts, answers)
    assert [each.shape for each in both] == [(len(both[0]), 2), (len(both[0]), 3)]
    assert torch.equal(torch.cat(judges(prompts, answers), 1), torch.cat(both, 1))
    assert judges.asking(prompts, answers).flops > 0
    assert judges.asking(prompts, [[] for _ in prompts]) == NOTHING  # where every drawn answer is empty
    if kind == "likelihood":
        alone = judges.judge(prompts[1:], answers[1:])
        assert torch.allclose(alone[0], both[1], atol=1e-5)


def test_the_plan_counts_judges(config):
    lines = {line.what: line for line in make_plan(config, calibrated=False).lines}
    for what in ("a judge", "judges read answers", "wrong answers for judges", "judges read answers to the tests"):
        assert lines[what].flops > 0, what
    assert lines["a judge"].count == 2


def test_what_judges_cannot_do_is_refused_by_name(task_file):
    words, classes = judged_tree(task_file), tiny_tree(task_file)
    classes["students"] = {"recipes": [{"label_model": "judged"}]}
    for tree, message in (
        (words | {"judges": {}}, "xent-hard-judged asks judges, and judges.kind is none"),
        (classes, "xent-soft-judged asks judges, and judges.kind is none"),
        (classes | {"judges": {"kind": "likelihood"}}, "likelihood judges answers in words"),
        (merged(words, {"strong": {"chat": True}, "judges": {"kind": "principles"}}), "asks in plain text"),
        (merged(words, {"judges": {"at_test": True}, "generation": {"samples": 0}}), "generation.samples is 0"),
        (words | {"judges": {"at_test": True}}, "nobody judges"),
        (merged(words, {"judges": {"method": "bags"}}), "there is no 'bags'"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse_config(tree)
    with pytest.raises(ConfigError, match=r"judges\.method: members of layers"):
        check(parse_config(merged(words, {"judges": {"method": "layers"}})))


def test_unused_judges_count_in_no_hash_and_the_leaderboard_has_judged_where_there_are_some(task_file):
    tree = tiny_words_tree(task_file)
    plain = parse_config(tree)
    assert "judges" not in plain.model_dump()
    assert canonical_hash(plain) == canonical_hash(parse_config(tree | {"judges": {"kind": "none"}}))
    assert "judged" not in with_methods(plain, ["judged", "majority"])[1]
    compared, rows = with_methods(parse_config(judged_tree(task_file)), ["judged", "majority"])
    assert "judged" in rows
    assert compared.judges.kind == "trained"
