"""From a finished run to people and back: what is asked, what is taken, what is refused, and who learns from it."""

import csv
import json
import sys
from dataclasses import replace

import pytest
import torch

from damage import DAMAGES, fresh_copy
from ensemw2s import cli
from ensemw2s.config import parse_config
from ensemw2s.data.load import load_task
from ensemw2s.data.own.votes import read_votes
from ensemw2s.data.people import Questions, read_people
from ensemw2s.data.readers.load import read_rows
from ensemw2s.errors import ConfigError, DataError, ModelError, RunError
from ensemw2s.forms.classification.weak.writing import Writer
from ensemw2s.pipeline.prepare import prepare
from ensemw2s.pipeline.run import run
from ensemw2s.pipeline.run_folder import read_results
from ensemw2s.services.annotation import merge
from ensemw2s.services.annotation.merge import merge_answers, read_merged
from ensemw2s.services.annotation.queue import Wanted, open_run, write_queue
from ensemw2s.services.annotation.reasons import Explanation
from ensemw2s.storage import files
from ensemw2s.storage.store import Store
from tiny_run import comparison_rows, merged, tiny_tree, tiny_words_tree, write_jsonl

TREES = {"classes": tiny_tree, "words": tiny_words_tree}
SMALL = {"seeds": [0, 1], "ensemble": {"n_rounds": 2, "methods": ["single", "boosting"]}, "students": {"recipes": [{}]}}
SMALL_WORDS = SMALL | {"students": {"recipes": [{"labels": "hard", "with_easy": True, "selection": "agreement"}]}}


def config_of(kind, file, **changes):
    small = SMALL if kind == "classes" else SMALL_WORDS
    return parse_config(merged(merged(TREES[kind](file), small), changes))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("queue")


@pytest.fixture(params=TREES)
def kind(request):
    return request.param


@pytest.fixture
def finished(kind, place, task_file):
    """One finished run of each kind; tests that merge begin without earlier answers."""
    folder = place / kind
    if not (folder / "results.json").exists():
        run(config_of(kind, task_file), folder, store_root=place / "store")
    for name in (merge.PEOPLE, merge.REFUSED, merge.SUMS):
        (folder / name).unlink(missing_ok=True)
    return folder


def queued(folder, output, place, **wanted) -> list[dict]:
    write_queue(folder, output, Wanted(**wanted), store_root=place / "store")
    return [row for _, row in read_rows(str(output))]


def take(folder, place, rows, *, replace=False, name="answers.jsonl"):
    opened = open_run(folder, store_root=place / "store")
    file = write_jsonl(folder / name, rows)
    return merge_answers(folder, file, opened.questions, opened.ids, replace=replace)


def test_a_queue_has_every_item_once_least_trusted_first_with_an_empty_answer(finished, kind, place, tmp_path):
    rows = queued(finished, tmp_path / "q.jsonl", place)
    assert len({r["id"] for r in rows}) == len(rows) == 70
    keys = [(r["confidence"], r["id"]) for r in rows]
    assert [k for k, _ in keys] == sorted(k for k, _ in keys)
    questions = {r["id"]: r["q"] for r in comparison_rows()}
    for row in rows:
        assert questions[row["id"]] in row["prompt"]
        assert row["answer"] == ""
        share = row["members"].count(row["ensemble"]) / len(row["members"])
        assert row["agreement"] == pytest.approx(share if row["ensemble"].strip() else 0.0, abs=1e-6)
        assert row["allowed"] == (["no", "yes"] if kind == "classes" else [])
        assert (row["route"] in ("accept", "check", "person")) == (kind == "classes")


@pytest.mark.parametrize("router", ["confidence", "agreement", "disagreement"])
def test_a_budget_takes_the_first_items_and_the_same_call_gives_the_same_bytes(finished, place, tmp_path, router):
    names = ("all.csv", "again.csv", "few.csv")
    for name in names:
        budget = 9 if name == "few.csv" else None
        write_queue(finished, tmp_path / name, Wanted(router=router, budget=budget), store_root=place / "store")
    assert (tmp_path / "all.csv").read_bytes() == (tmp_path / "again.csv").read_bytes()
    rows, first = ([row for _, row in read_rows(str(tmp_path / name))] for name in ("all.csv", "few.csv"))
    assert rows[:9] == first


def without_reasons(rows):
    return [{name: row[name] for name in row if not name.endswith("reason")} for row in rows]


def test_reasons_stand_beside_the_same_rows_and_are_written_once_for_those_alone(
    finished, kind, place, tmp_path, monkeypatch
):
    explanation = Explanation("Why could it be {{ answer }}?", both=True)

    def explained(name):
        wanted = {"tool": None, "explanation": explanation, "store_root": place / "store"}
        write_queue(finished, tmp_path / name, Wanted(budget=4), **wanted)
        return [row for _, row in read_rows(str(tmp_path / name))]

    plain, rows = queued(finished, tmp_path / "plain.jsonl", place, budget=4), explained("q.jsonl")
    assert without_reasons(rows) == plain
    assert all(row["reason"] for row in rows if row["ensemble"])
    assert list(rows[0])[-3:] == ["reason", "checker_reason", "answer"]
    for row in rows:
        assert bool(row["checker_reason"]) == (row["checker"] != row["ensemble"] and bool(row["checker"].strip()))
    written = [Store(place / "store").load("written", each.name) for each in place.glob("store/written/*/*")]
    assert sum(len(each.record["texts"]) for each in written) <= 2 * 4 * len(TREES)
    # They come from the store the second time, and merging the file takes no notice of them.
    monkeypatch.setattr(Writer, "compose", None)
    explained("again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "q.jsonl").read_bytes()
    answered = [take(finished, place, [r | {"answer": "yes"} for r in each]) for each in (plain, rows)]
    assert (answered[0].added, answered[1].unchanged, answered[1].refused) == (4, 4, ())


def test_reasons_that_cannot_be_written_are_refused_before_any_work(finished, place, tmp_path):
    for explanation, error, words in (
        (Explanation("Why {{ label }}?"), ConfigError, "--explain: .*label.*the columns prompt and answer"),
        (Explanation("Why?{% for x in prompt %}"), ConfigError, "--explain: prompt template"),
        (Explanation("Why {{ answer }}?", by="tf-idf"), ConfigError, "--explain-by: tf-idf writes no text"),
        (Explanation("Why {{ answer }}?", by=str(tmp_path)), ModelError, str(tmp_path)),
    ):
        with pytest.raises(error, match=words):
            write_queue(finished, tmp_path / "q.csv", Wanted(), explanation=explanation, store_root=place / "store")
    assert not (tmp_path / "q.csv").exists()


def test_people_are_asked_no_item_twice(finished, place, tmp_path):
    rows = queued(finished, tmp_path / "q.jsonl", place)
    take(finished, place, [{"id": r["id"], "answer": "yes"} for r in rows[:5]])
    assert [r["id"] for r in queued(finished, tmp_path / "next.jsonl", place)] == [r["id"] for r in rows[5:]]


def test_what_is_wrong_is_refused_with_its_line_and_what_is_right_is_kept(finished, kind, place, tmp_path):
    a, b, c, d, e = (r["id"] for r in queued(finished, tmp_path / "q.jsonl", place, budget=5))
    rows = [
        {"id": a, "answer": " yes "},
        {"id": "nobody", "answer": "yes"},
        {"id": b, "answer": "yes"},
        {"id": b, "answer": "no"},
        {"id": c, "answer": ""},
        {"id": d, "answer": "no"},
        {"id": d, "answer": "no"},
        {"id": e, "answer": True},
        {"answer": "no"},
    ]
    found = take(finished, place, rows)
    assert (found.added, found.unchanged, found.empty) == (2, 1, 1)
    assert read_merged(finished) == {a: "yes", d: "no"}
    reasons = {int(r.place.rsplit(":", 1)[1]): r.reason for r in found.refused}
    assert sorted(reasons) == [2, 3, 4, 8, 9]
    assert "no unlabelled item of this run has the id 'nobody'" in reasons[2]
    assert "'yes' here and 'no'" in reasons[3]
    assert "expected a text as answer, got True" in reasons[8]
    assert "no column 'id'" in reasons[9]
    assert len(read_rows(str(finished / merge.REFUSED))) == 5
    # The same file again changes not a byte.
    before = {name: (finished / name).read_bytes() for name in (merge.PEOPLE, merge.REFUSED)}
    again = take(finished, place, rows)
    assert (again.added, again.unchanged, again.refused) == (0, 3, found.refused)
    assert before == {name: (finished / name).read_bytes() for name in before}


def test_an_answer_that_is_no_class_is_refused_and_words_are_free(finished, kind, place, tmp_path):
    (first,) = queued(finished, tmp_path / "q.jsonl", place, budget=1)
    found = take(finished, place, [{"id": first["id"], "answer": "yess"}])
    assert (found.added == 1) == (kind == "words")
    if kind == "classes":
        assert "did you mean 'yes'" in found.refused[0].reason


def test_another_spelling_of_a_class_is_that_class(finished, kind, place, tmp_path):
    if kind == "words":
        return
    first, second = (r["id"] for r in queued(finished, tmp_path / "q.jsonl", place, budget=2))
    take(finished, place, [{"id": first, "answer": "YES"}, {"id": second, "answer": "ｎｏ"}])
    assert read_merged(finished) == {first: "yes", second: "no"}


def test_an_earlier_answer_stands_until_replace_is_given(finished, place, tmp_path):
    (first,) = queued(finished, tmp_path / "q.jsonl", place, budget=1)
    take(finished, place, [{"id": first["id"], "answer": "yes"}])
    other = [{"id": first["id"], "answer": "no"}]
    found = take(finished, place, other, name="second.jsonl")
    assert "merged earlier with the answer 'yes'" in found.refused[0].reason
    assert read_merged(finished) == {first["id"]: "yes"}
    assert take(finished, place, other, name="second.jsonl", replace=True).replaced == 1
    assert read_merged(finished) == {first["id"]: "no"}


def test_a_merge_that_dies_while_it_writes_leaves_the_earlier_answers(finished, place, tmp_path, monkeypatch):
    a, b = (r["id"] for r in queued(finished, tmp_path / "q.jsonl", place, budget=2))
    take(finished, place, [{"id": a, "answer": "yes"}])

    class Killed(BaseException):
        pass

    def die(fd):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", die)
        with pytest.raises(Killed):
            take(finished, place, [{"id": b, "answer": "no"}])
    assert read_merged(finished) == {a: "yes"}
    assert take(finished, place, [{"id": b, "answer": "no"}]).added == 1
    assert not list(finished.glob(".*.tmp"))


def test_a_kill_between_the_checksums_and_the_answers_leaves_the_earlier_answers(
    finished, place, tmp_path, monkeypatch
):
    a, b = (r["id"] for r in queued(finished, tmp_path / "q.jsonl", place, budget=2))
    take(finished, place, [{"id": a, "answer": "yes"}])
    real = merge.write_atomic

    class Killed(BaseException):
        pass

    def die(path, content):
        if path.name == merge.PEOPLE:
            raise Killed
        real(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(merge, "write_atomic", die)
        with pytest.raises(Killed):
            take(finished, place, [{"id": b, "answer": "no"}])
    assert read_merged(finished) == {a: "yes"}
    assert take(finished, place, [{"id": b, "answer": "no"}]).added == 1


def test_damaged_answers_of_people_are_refused_by_name_with_the_mend(task_file, tmp_path):
    task = load_task(config_of("classes", task_file).task)
    answers = write_jsonl(tmp_path / "answers.jsonl", [{"id": "q1", "answer": "yes"}])
    merge_answers(tmp_path / "merged", answers, Questions(task), {"q1"})
    whole = read_merged(tmp_path / "merged")
    assert whole == read_people(str(tmp_path / "merged" / merge.PEOPLE), task) == {"q1": "yes"}
    for name in (merge.PEOPLE, merge.SUMS):
        for damage in DAMAGES.values():
            folder = fresh_copy(tmp_path / "merged", tmp_path / "run")
            damage(folder / name)
            with pytest.raises(RunError, match=r"not the answers that were merged \(people.*queue .* --merge FILE"):
                read_merged(folder)
            if (folder / merge.SUMS).exists() and (folder / merge.PEOPLE).is_file():
                with pytest.raises(DataError, match=r"students\.people: .*not the answers that were merged"):
                    read_people(str(folder / merge.PEOPLE), task)


def test_students_learn_peoples_answers_and_experts_and_labels_stay(finished, kind, place, task_file, tmp_path):
    truth = {r["id"]: r["answer"] for r in comparison_rows()}
    rows = queued(finished, tmp_path / "q.jsonl", place, budget=30)
    take(finished, place, [{"id": r["id"], "answer": truth[r["id"]]} for r in rows])
    config = config_of(kind, task_file, students={"people": str(finished / merge.PEOPLE)})
    folder = place / f"{kind}-people"
    results = run(config, folder, store_root=place / "store")
    note = next(n for n in results.notes if n.startswith("People answered"))
    assert "30 items" in note
    assert "30 (seed" in note
    before = read_results(finished)
    keys = {r.key for r in results.rows}
    changed = {k for k in keys if results.row(k).parts != before.row(k).parts}
    assert changed
    assert all(k.startswith(("student:", "self_training")) for k in changed)
    assert results.budget == before.budget  # it starts from the ensemble's labels alone


def test_selections_never_drop_a_persons_answer(place, task_file):
    people = write_jsonl(place / "few.jsonl", [{"id": r["id"], "answer": "no"} for r in comparison_rows()])
    config = config_of("classes", task_file, students={"people": str(people)})
    from ensemw2s.config.recipe import Recipe
    from ensemw2s.core.labels import Labelled, Votes
    from ensemw2s.forms.classification.strong.ballot import ClassBallot
    from ensemw2s.forms.classification.strong.students import ClassStudents
    from ensemw2s.forms.classification.weak.experts import ClassVoters
    from ensemw2s.pipeline.seeds.seed_work import SeedWork

    store = Store(place / "store")
    work = SeedWork(prepare(config, store, lambda m, n: None), store, 0)
    hard = work.context.draw.hard_unlabelled
    n = len(hard)
    few = dict.fromkeys(work.prepared.names_of(hard)[:3], "no")
    prepared = replace(work.prepared, people=few)
    weak = Labelled(torch.full((n, 2), 0.5), torch.arange(n) == 5)
    votes = Votes(weak.soft[None], torch.ones(1), weak.soft)
    ballot = ClassBallot(ClassStudents(prepared), work.context, votes, ClassVoters({}))
    learned = ballot.training_set(weak, Recipe()).supervision
    assert learned.rows.tolist() == hard[[0, 1, 2, 5]].tolist()
    assert learned.targets.soft.tolist() == [[1, 0], [1, 0], [1, 0], [0.5, 0.5]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "nobody", "answer": "yes"}], "the task has no id 'nobody'"),
        ([{"id": "q1", "answer": "maybe"}], "none of 'no', 'yes'"),
        (
            [{"id": "q1", "answer": "yes"}, {"id": "q1", "answer": "no"}],
            "'q1' has the answer 'no' here and 'yes' before",
        ),
        ([{"id": "q1", "answer": 1.5}], "expected a text"),
        (None, "there is no such file"),
    ],
)
def test_answers_that_cannot_be_used_are_refused_before_any_work(rows, message, tmp_path, task_file):
    file = tmp_path / "people.jsonl"
    if rows is not None:
        write_jsonl(file, rows)
    config = config_of("classes", task_file, students={"people": str(file)})
    with pytest.raises(DataError, match=message):
        run(config, tmp_path / "run", store_root=tmp_path / "store")
    assert not list((tmp_path / "store").glob("experts/*"))


def test_the_curves_begin_at_the_ensembles_labels_and_end_at_the_truth(finished, kind):
    curves = {c.order: c.points for c in read_results(finished).budget}
    assert {"by confidence", "by agreement", "by disagreement", "random order"} <= set(curves)
    assert ("three ways, by confidence" in curves) == (kind == "classes")
    for order, points in curves.items():
        values = [p.accuracy.mean for p in points]
        assert values == sorted(values), order
        assert values[-1] == 1.0
        assert [p.n_people for p in points] == [7.0 * i for i in range(11)]
    starts = {points[0].accuracy.mean for order, points in curves.items() if "three" not in order}
    assert max(starts) - min(starts) < 1e-12


def test_flipping_every_sealed_label_changes_no_byte_of_the_queue(kind, tmp_path):
    rows, other = comparison_rows(), {"yes": "no", "no": "yes"}
    file = write_jsonl(tmp_path / "flip.jsonl", rows)
    config = config_of(kind, file, seeds=[0])
    found = []
    for name in ("plain", "flipped"):
        run(config, tmp_path / name, store_root=tmp_path / f"{name}-store")
        wanted = Wanted(router="disagreement")
        write_queue(tmp_path / name, tmp_path / f"{name}.csv", wanted, store_root=tmp_path / f"{name}-store")
        few, why = replace(wanted, budget=4), Explanation("Why {{ answer }}?", both=True)
        write_queue(
            tmp_path / name, tmp_path / f"{name}-why.csv", few, explanation=why, store_root=tmp_path / f"{name}-store"
        )
        found.append([(tmp_path / f"{name}{end}.csv").read_bytes() for end in ("", "-why")])
        from ensemw2s.pipeline.prepare import check

        _, split = check(config)
        sealed = {e.id for e in split.examples if e.answer is None}
        write_jsonl(file, [r | {"answer": other[r["answer"]]} if r["id"] in sealed else r for r in rows])
    assert found[0] == found[1]
    accuracy = [read_results(tmp_path / n).budget[0].points[0].accuracy.mean for n in ("plain", "flipped")]
    # And the test can fail: the truth did turn round. In words an answer may be neither.
    assert accuracy[0] != accuracy[1]
    assert sum(accuracy) <= 1 + 1e-9
    assert sum(accuracy) == pytest.approx(1) or kind == "words"


def test_a_queue_is_refused_where_it_would_overwrite_or_cannot_be_made(finished, place, tmp_path):
    store = place / "store"
    (tmp_path / "there.csv").write_text("")
    for output, wanted, words in (
        (tmp_path / "there.csv", Wanted(), "there is such a file"),
        (tmp_path / "q.txt", Wanted(), "must end in .jsonl or .csv"),
        (tmp_path / "q.csv", Wanted(method="bagging"), "choose one of single, boosting"),
        (tmp_path / "q.csv", Wanted(router="luck"), "choose one of confidence, agreement, disagreement"),
        (tmp_path / "q.csv", Wanted(seed=9), "choose one of 0, 1"),
        (tmp_path / "q.csv", Wanted(target=1.5), "a share above 0"),
    ):
        with pytest.raises(ConfigError, match=words):
            write_queue(finished, output, wanted, store_root=store)
    with pytest.raises(RunError, match="run the same `ensemw2s run` again"):
        write_queue(finished, tmp_path / "q.csv", Wanted(), store_root=tmp_path / "elsewhere")


def test_merged_answers_become_votes_of_one_voter(finished, place, kind, task_file, tmp_path, monkeypatch, capsys):
    rows = queued(finished, tmp_path / "q.jsonl", place, budget=3)
    with pytest.raises(RunError, match="no merged answers; merge some"):
        merge.write_votes(finished, tmp_path / "votes.jsonl")
    take(finished, place, [{"id": r["id"], "answer": "yes"} for r in rows])
    with pytest.raises(ConfigError, match=r"must end in \.jsonl"):
        merge.write_votes(finished, tmp_path / "votes.csv")
    code, told, problems = call(monkeypatch, capsys, "queue", finished, "--votes", tmp_path / "votes.jsonl")
    assert (code, problems) == (0, "")
    assert "3 votes of the voter `people`" in told
    written = [row for _, row in read_rows(str(tmp_path / "votes.jsonl"))]
    assert sorted(row["id"] for row in written) == sorted(r["id"] for r in rows)
    assert {(row["voter"], row["label"]) for row in written} == {("people", "yes")}
    if kind == "classes":
        task = load_task(config_of(kind, task_file).task)
        assert read_votes(str(tmp_path / "votes.jsonl"), task).voters == ("people",)


def call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["ensemw2s", *map(str, arguments)])
    try:
        cli.main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, *capsys.readouterr()


def test_the_command_ends_with_3_after_it_kept_what_is_valid(place, finished, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ensemw2s.services.annotation.queue.cache_home", lambda: place)
    output = tmp_path / "q.csv"
    code, _, problems = call(monkeypatch, capsys, "queue", finished, "--output", output, "--budget", 3)
    assert code == 0, problems
    rows = [row for _, row in read_rows(str(output))]
    rows[0]["answer"], rows[1]["answer"], rows[2]["id"] = "yes", "", "nobody"
    with output.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    code, told, problems = call(monkeypatch, capsys, "queue", finished, "--merge", output)
    assert code == 3
    assert "1 answers added, 0 replaced, 0 known already, 1 left empty, 1 refused" in told.replace("\n", " ")
    assert f"{output}:4: no unlabelled item" in problems
    assert read_merged(finished) == {rows[0]["id"]: "yes"}
    code, told, _ = call(monkeypatch, capsys, "queue", finished, "--merge", output, "--json")
    assert (code, json.loads(told)["unchanged"]) == (3, 1)
    assert call(monkeypatch, capsys, "queue", finished)[0] == 2
