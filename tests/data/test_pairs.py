"""Right or wrong: one question from columns of right and wrong answers."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ensemw2s.data.load import load_task
from ensemw2s.data.own.pairs import Pair, pair_of
from ensemw2s.data.tasks.files import Files
from ensemw2s.errors import DataError

ROW = {"q": "What is hot?", "good": "fire", "bad1": "ice", "bad2": "snow"}
SETTINGS: dict[str, Any] = {
    "name": "files",
    "prompt": "{{ q }} {{ candidate }}",
    "right": "good",
    "wrong": ["bad1", "bad2"],
    "group": "q",
}


def written(folder: Path, rows: list[dict[str, Any]]) -> str:
    path = folder / "q.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_with_one_wrong_answer_a_seed_decides_which_of_the_two_is_asked_about():
    found = {pair_of("f", ROW, "good", ["bad1"], seed=seed, name="a") for seed in range(20)}
    assert found == {Pair("fire", "ice", True), Pair("ice", "fire", False)}


@given(st.integers(0, 2**31), st.text(min_size=1))
def test_a_candidate_is_right_exactly_where_it_is_the_right_answer_and_the_other_is_of_the_other_kind(seed, name):
    pair = pair_of("f", ROW, "good", ["bad1", "bad2"], seed=seed, name=name)
    assert pair.is_right == (pair.candidate == "fire")
    assert (pair.other == "fire") == (not pair.is_right)
    assert pair == pair_of("f", ROW, "good", ["bad1", "bad2"], seed=seed, name=name)


def test_half_of_many_candidates_are_right_and_all_wrong_answers_are_drawn_alike():
    pairs = [pair_of("f", ROW, "good", ["bad1", "bad2"], seed=0, name=str(i)) for i in range(2000)]
    # Four standard deviations of a fair coin, over 2,000 and over about 1,000 throws.
    assert abs(sum(p.is_right for p in pairs) / 2000 - 0.5) < 0.045
    wrong = [p.candidate for p in pairs if not p.is_right]
    assert abs(wrong.count("ice") / len(wrong) - 0.5) < 0.063


def test_empty_wrong_answers_and_those_that_are_the_right_one_are_never_drawn():
    row = ROW | {"bad1": " fire ", "bad2": None, "bad3": "", "bad4": 3}
    pairs = [pair_of("f", row, "good", ["bad1", "bad2", "bad3", "bad4"], seed=s, name="a") for s in range(20)]
    assert {p.candidate for p in pairs} == {"fire", "3"}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"good": " "}, "column 'good' (task.right) is empty"),
        ({"bad1": "fire", "bad2": ""}, "['bad1', 'bad2'] hold no wrong answer"),
        ({"good": True}, "column 'good': expected text, got True"),
        ({"bad2": ["ice"]}, "column 'bad2': expected text, got ['ice']"),
    ],
)
def test_a_row_without_a_right_and_a_wrong_text_is_refused(change, complaint):
    with pytest.raises(DataError) as caught:
        pair_of("f line 3", ROW | change, "good", ["bad1", "bad2"], seed=0, name="a")
    assert str(caught.value).startswith("f line 3")
    assert complaint in str(caught.value)


def test_a_missing_column_is_refused_with_the_nearest():
    with pytest.raises(DataError, match=r"no column 'bad' .*did you mean 'bad2'"):
        pair_of("f", {"good": "fire", "bad2": "ice"}, "good", ["bad"], seed=0, name="a")


def test_the_task_asks_about_each_rows_candidate_in_the_rows_group(tmp_path):
    rows = [ROW | {"q": f"Question {i % 30}?"} for i in range(60)]
    task = load_task(Files(path=written(tmp_path, rows), **SETTINGS))
    assert task.choices == ("no", "yes")
    assert {e.group_id for e in task.examples} == {f"Question {i}?" for i in range(30)}
    for row, example in zip(rows, task.examples, strict=True):
        question, _, candidate = example.prompt.rpartition(" ")
        assert question == row["q"]
        assert example.answer == ("yes" if candidate == "fire" else "no")


def test_which_of_two_is_better_is_asked_with_the_other_and_two_classes(tmp_path):
    both = {"prompt": "A {{ candidate }} B {{ other }}", "choices": ["B", "A"], "wrong": ["bad1"]}
    task = load_task(Files(path=written(tmp_path, [ROW | {"q": str(i)} for i in range(20)]), **SETTINGS | both))
    assert {(e.prompt, e.answer) for e in task.examples} == {("A fire B ice", "A"), ("A ice B fire", "B")}


def test_another_seed_of_the_task_draws_other_candidates_and_no_row_changes_anothers(tmp_path):
    rows = [ROW | {"q": str(i)} for i in range(40)]
    path = written(tmp_path, rows)
    first, other = (load_task(Files(path=path, seed=seed, **SETTINGS)).examples for seed in (0, 1))
    assert [e.answer for e in first] != [e.answer for e in other]
    fewer = load_task(Files(path=written(tmp_path, rows[:20]), **SETTINGS)).examples
    assert fewer == first[:20]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"wrong": []}, "right and wrong belong together"),
        ({"right": None}, "right and wrong belong together"),
        ({"answer_form": "free"}, "leave out answer_form: free"),
        ({"unlabelled": "u.jsonl"}, "leave out answer_form: free, unlabelled"),
        ({"choices": ["a", "b", "c"]}, "choices must be two where right is given"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(change, complaint):
    with pytest.raises(ValidationError, match=complaint):
        Files(path="q.jsonl", **SETTINGS | change)
