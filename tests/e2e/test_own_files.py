"""Labelled, unlabelled and test questions in files of their own: a whole run with each kind of knowledge missing."""

import json
from pathlib import Path
from typing import Any

import pytest

from ensemw2s.config import parse_config
from ensemw2s.data.load import load_task
from ensemw2s.errors import DataError
from ensemw2s.pipeline.run import run
from ensemw2s.report.table import terminal_table
from ensemw2s.results import Results
from ensemw2s.services.leaderboard.compare import compare_runs
from tiny_run import comparison_rows, merged, tiny_tree, tiny_words_tree, write_jsonl


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    rows = sorted(comparison_rows(), key=lambda r: r["hardness"])
    rows = [{name: r[name] for name in ("id", "q", "answer")} for r in rows]
    write_jsonl(folder / "labelled.jsonl", rows[:260])
    write_jsonl(folder / "unlabelled.jsonl", [{"id": r["id"], "q": r["q"]} for r in rows[260:380]])
    write_jsonl(folder / "test.jsonl", rows[380:440])
    return folder


def tree_of(place: Path, plain: dict[str, Any], **task: Any) -> dict[str, Any]:
    files = {"path": str(place / "labelled.jsonl"), "unlabelled": str(place / "unlabelled.jsonl"), "difficulty": None}
    one_seed = {"seeds": [0], "ensemble": {"n_rounds": 2, "methods": ["single", "boosting"]}}
    return merged(plain, one_seed | {"task": files | task})


def finish(place: Path, name: str, tree: dict[str, Any]) -> tuple[Results, str]:
    results = run(parse_config(tree | {"name": name}), place / name, store_root=place / "store")
    return results, (place / name / "report.html").read_text()


@pytest.fixture(scope="module")
def without_test(place: Path) -> tuple[Results, str]:
    return finish(place, "without", tree_of(place, tiny_tree(place / "labelled.jsonl")))


def test_with_a_test_file_the_hard_figures_are_of_that_file_and_nothing_needs_the_hard_answers(place: Path):
    tree = tree_of(place, tiny_tree(place / "labelled.jsonl"), test=str(place / "test.jsonl"))
    results, page = finish(place, "with", tree)
    assert results.task.sizes["ood_test"] == 50
    assert set(results.rows[0].parts) == {"easy_val", "id_test", "ood_test"}
    assert "ceiling" not in {r.key for r in results.rows}
    assert {p.reason for p in results.pgr} == {"the run has no row 'ceiling'"}
    assert {b.n_items for b in results.difficulty[0].bins} == {50}
    assert "on the hard test" in results.recommendation.headline
    assert any("true answers of the unlabelled questions are unknown" in note for note in results.notes)
    assert not any(note.startswith("No test set") for note in results.notes)
    assert "OOD interval" in page


def test_without_a_test_file_the_report_says_what_cannot_be_known(place: Path, without_test):
    results, page = without_test
    assert "ood_test" not in results.task.sizes
    assert all(set(r.parts) == {"easy_val", "id_test"} for r in results.rows)
    assert {c.part for c in results.comparisons} == {"id_test"}
    assert {p.reason for p in results.pgr} <= {"the run has no row 'ceiling'", "there is no OOD test"}
    assert results.difficulty == ()
    assert "There is no hard test: how it does on the unlabelled kind of question is unknown." in (
        results.recommendation.details
    )
    assert any(note.startswith("No test set of the unlabelled kind of question") for note in results.notes)
    assert "There is no OOD test" in page
    assert "ID interval" in page
    assert "OOD" not in [column.header for column in terminal_table(results).columns]
    assert "| unknown | no such test |" in (place / "without" / "student" / "README.md").read_text()


def test_a_run_without_a_hard_test_is_compared_with_nothing(place: Path, without_test):
    found = compare_runs([place / "without", place / "without"])
    assert found.pairs[0].reason == "there is no OOD test"
    assert found.lines[0].accuracy == {}


def test_the_unlabelled_questions_answers_are_read_by_nobody(place: Path, without_test):
    rows = [json.loads(line) for line in (place / "unlabelled.jsonl").read_text().splitlines()]
    lying = write_jsonl(place / "lying.jsonl", [r | {"answer": "maybe"} for r in rows])
    tree = tree_of(place, tiny_tree(place / "labelled.jsonl"), unlabelled=str(lying))
    results, _ = finish(place, "lying", tree)
    assert results.rows == without_test[0].rows


def sealed_run(place: Path, name: str, answer_of: dict[str, str]) -> Results:
    rows = [json.loads(line) for line in (place / "unlabelled.jsonl").read_text().splitlines()]
    file = write_jsonl(place / f"{name}.jsonl", [r | {"answer": answer_of[r["id"]]} for r in rows])
    changes = {"unlabelled": str(file), "unlabelled_answers": "sealed"}
    return finish(place, name, tree_of(place, tiny_tree(place / "labelled.jsonl"), **changes))[0]


def test_sealed_answers_of_the_unlabelled_questions_make_a_ceiling_and_nothing_else(place: Path, without_test):
    true = {r["id"]: r["answer"] for r in comparison_rows()}
    flipped = {name: {"yes": "no", "no": "yes"}[answer] for name, answer in true.items()}
    known, lying = sealed_run(place, "sealed", true), sealed_run(place, "flipped", flipped)
    plain = without_test[0]
    for results in (known, lying):
        assert tuple(row for row in results.rows if row.key != "ceiling") == plain.rows
        assert results.recommendation == plain.recommendation
        assert results.ensembles == plain.ensembles
    assert known.row("ceiling") != lying.row("ceiling")
    assert known.budget != lying.budget
    assert plain.mending == ()
    students = [row.key for row in known.rows if row.condition.kind in ("student", "self_training")]
    assert [each.row for each in known.mending] == [each.row for each in lying.mending] == students
    for true_one, false_one in zip(known.mending, lying.mending, strict=True):
        assert true_one.labels_right.mean + false_one.labels_right.mean == pytest.approx(1)
        assert true_one.net.mean == pytest.approx(-false_one.net.mean)
    exported = [(place / name / "student" / "model.safetensors").read_bytes() for name in ("sealed", "flipped")]
    assert exported[0] == exported[1] == (place / "without" / "student" / "model.safetensors").read_bytes()
    assert not any("true answers of the unlabelled questions are unknown" in note for note in known.notes)


def test_classes_that_have_an_order_are_measured_by_it(place: Path):
    tree = tree_of(place, tiny_tree(place / "labelled.jsonl"), choices=["no", "yes"], ordered=True)
    results, page = finish(place, "ordered", tree | {"seeds": [0]})
    for row in results.rows:
        figures = row.parts["id_test"]
        assert figures["class_distance"].interval.mean == pytest.approx(1 - figures["accuracy"].interval.mean)
        assert -1 <= figures["quadratic_kappa"].interval.mean <= 1
    assert "Quadratic weighted kappa" in page.split('id="classes"')[1].split("</section>")[0]


def test_a_sealed_answer_that_is_no_class_of_the_labelled_file_is_refused_with_its_line(place: Path, tmp_path: Path):
    rows = [{"id": f"u{i}", "q": f"Is {i} above 7?", "answer": ("yes", "maybe")[i]} for i in (0, 1)]
    unlabelled = str(write_jsonl(tmp_path / "u.jsonl", rows))
    task = tree_of(place, tiny_tree(place), unlabelled=unlabelled, unlabelled_answers="sealed")["task"]
    with pytest.raises(DataError, match=r"u\.jsonl line 2, column 'answer': unknown answer 'maybe'"):
        load_task(parse_config({"task": task}).task)


def test_in_words_unlabelled_questions_are_answered_and_no_truth_is_shown(place: Path):
    results, page = finish(place, "words", tree_of(place, tiny_words_tree(place / "labelled.jsonl")))
    assert all(set(r.parts) == {"easy_val", "id_test"} for r in results.rows)
    assert "ceiling" not in {r.key for r in results.rows}
    assert results.reliability == ()
    assert {(s.truth, s.is_right) for s in results.samples} == {(None, None)}
    assert "unknown</td>" in page
    assert "✓" not in page.split('id="samples"')[1].split("</section>")[0]


def test_questions_with_options_of_their_own_are_answered_by_choosing_one(place: Path):
    for name in ("labelled", "unlabelled"):
        rows = [json.loads(line) for line in (place / f"{name}.jsonl").read_text().splitlines()]
        listed = [r | {"o": [["no", "yes"], ["yes", "no", "who knows"]][i % 2]} for i, r in enumerate(rows)]
        named = [{**r, "answer": str(r["o"].index(r["answer"]))} if "answer" in r else r for r in listed]
        write_jsonl(place / f"{name}-options.jsonl", named)
    files = {"path": "labelled", "unlabelled": "unlabelled"}
    task = {k: str(place / f"{name}-options.jsonl") for k, name in files.items()}
    tree = tree_of(place, tiny_words_tree(place), **task, options=["o"], answer_as="index")
    boosting = {"methods": ["single", "boosting"], "prior": "chance", "max_expert_weight": 2.0}
    generation = {"answer_by": "choices", "boost_unit": "sequence"}
    tree = merged(tree, {"generation": generation, "ensemble": boosting})
    results, _ = finish(place, "options", tree | {"students": {"recipes": [{"labels": "hard"}]}})
    assert {s.answer for s in results.samples} <= {"no", "yes", "who knows"}
    assert results.row("single").parts["id_test"]["accuracy"].interval.mean > 0.3
