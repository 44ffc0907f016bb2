"""Columns that give the answer away, and those that only look so."""

import json
import random

import pytest

from ensemw2s.data.load import load_task
from ensemw2s.data.own.leaks import leaking
from ensemw2s.data.tasks.files import Files

N = 100
LABELS = random.Random(0).choices(("no", "yes"), k=N)
YES = [label == "yes" for label in LABELS]


def found(values: list, labels: list[str] | None = None, answers: list[str] | None = None) -> list[str]:
    labels = labels or LABELS
    return leaking([{"c": value} for value in values], labels, answers or labels, ["c"])


def rare(values: list, other: object, n: int) -> list:
    """With so many values replaced."""
    return [other if i < n else value for i, value in enumerate(values)]


@pytest.mark.parametrize(
    "values",
    [
        LABELS,
        [label.upper() + " " for label in LABELS],
        ["no"[::-1] if label == "no" else "sey" for label in LABELS],
        [f"{'A' if yes else 'B'}{i % 3}" for i, yes in enumerate(YES)],
        [int(yes) for yes in YES],
        [[label] for label in LABELS],
        [f"Answer {i}: {label}" for i, label in enumerate(LABELS)],
        [f"{label.title()}, because of {i}" for i, label in enumerate(LABELS)],
        [i + 1000 * yes for i, yes in enumerate(YES)],
        [f"{0.5 + i / 1000 if yes else i / 1000:.3f}" for i, yes in enumerate(YES)],
        rare(LABELS, "yes", 2),
        rare(LABELS, None, 1),
        [[label, "x"] for label in LABELS],
    ],
    ids=str,
)
def test_a_column_that_tells_the_answer_is_found(values):
    assert found(values) == ["c"]


@pytest.mark.parametrize(
    "values",
    [
        [f"Is {i} above 40?" for i in range(N)],
        [f"Is {i} right, yes or no?" for i in range(N)],
        [f"Question {i % 30}" for i in range(N)],
        ["the same"] * N,
        [i % 7 for i in range(N)],
        list(range(N)),
        rare(LABELS, "maybe", 15),
        [None] * N,
    ],
    ids=str,
)
def test_a_text_of_its_own_in_every_row_and_what_has_no_part_in_the_answer_are_not(values):
    assert found(values) == []


def test_the_commonest_answer_of_uneven_classes_is_no_leak():
    labels = ["yes"] * 98 + ["no"] * 2
    assert found(["x"] * N, labels) == []
    assert found([f"Yes. {i}" for i in range(N)], labels) == []
    assert found(labels, labels) == ["c"]


def test_an_answer_in_words_is_told_by_a_column_that_is_it_and_not_by_a_passage_that_holds_it():
    answers = [f"town {i}" for i in range(N)]
    assert found(list(answers), answers) == ["c"]
    assert found([f"Once {a} was a village." for a in answers], answers) == []
    assert found([f"Work: it is\n#### {a}" for a in answers], answers) == ["c"]
    letters = ["ABCD"[i % 4] for i in range(N)]
    assert found(list(answers), letters, answers) == ["c"]


def test_entries_of_nested_columns_are_named():
    rows = [{"meta": {"label": label, "page": i % 9}, "text": f"text {i}"} for i, label in enumerate(LABELS)]
    assert leaking(rows, LABELS, LABELS, ["meta", "text"]) == ["meta.label"]


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("{{ q }} {{ hint }}", "hint"),
        ("{{ q }}{% if hint == 'It is yes' %}!{% endif %}", "hint"),
        ("{{ q }} {{ meta.label }}", "meta.label"),
        ("{{ q }} {{ meta['label'] | upper }}", "meta.label"),
        ("{{ q }} {{ answer }}", "answer"),
        ("{{ q }}", None),
        ("{{ q }} {{ meta.page }}", None),
    ],
)
def test_a_template_that_shows_such_a_column_is_warned_of(tmp_path, prompt, name):
    path = tmp_path / "q.jsonl"
    rows = [
        {"q": f"Is it {i}?", "answer": a, "hint": f"It is {a}", "meta": {"label": int(a == "yes"), "page": i % 9}}
        for i, a in enumerate(LABELS)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    notes = load_task(Files(path=str(path), prompt=prompt)).notes
    assert [f"the prompt shows {name!r}, which gives the answer away" in note for note in notes] == [True] * bool(name)
