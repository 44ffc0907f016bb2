"""Own data: the template, the columns, and every refusal with its place and mend."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ensemw2s.data.load import load_task, validate_task
from ensemw2s.data.own.rows import load_files
from ensemw2s.data.tasks.files import Files
from ensemw2s.errors import DataError
from ensemw2s.examples import Example, Task

Make = Callable[..., Files]
GOOD = {"prompt": "Is ice cold?", "answer": "yes", "level": 1.5, "key": "a", "topic": "ice"}
OTHER = {"prompt": "Is fire cold?", "answer": "no", "level": 2, "key": "b", "topic": "fire"}


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def config(*rows: dict[str, Any], **settings: Any) -> Files:
        path = tmp_path / "q.jsonl"
        path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
        return Files(path=str(path), **settings)

    return config


def test_every_named_column_reaches_its_field(make: Make):
    config = make(GOOD, OTHER, prompt="Q: {{ prompt }}\nA:", difficulty="level", id="key", group="topic")
    task = load_task(config)
    choices = ("no", "yes")
    assert task.choices == choices
    assert task.examples == (
        Example("a", "ice", "Q: Is ice cold?\nA:", choices, "yes", 1.5),
        Example("b", "fire", "Q: Is fire cold?\nA:", choices, "no", 2.0),
    )


def test_without_id_and_group_each_row_is_numbered_and_on_its_own(make: Make):
    examples = load_files(make(GOOD, OTHER)).examples
    assert [(e.id, e.group_id, e.difficulty) for e in examples] == [
        ("row-1", "row-1", None),
        ("row-2", "row-2", None),
    ]


def test_given_choices_keep_their_order_and_integers_are_answers(make: Make):
    task = load_task(make(GOOD | {"answer": 1}, OTHER | {"answer": 0}, choices=("1", "0", "2")))
    assert task.choices == ("1", "0", "2")
    assert [e.answer for e in task.examples] == ["1", "0"]


@pytest.mark.parametrize(
    ("bad", "settings", "place", "complaint", "mend"),
    [
        ({"answr": "no"}, {}, "line 2:", "no column 'answer' (task.answer)", "did you mean 'answr'?"),
        ({"zzz": "no"}, {}, "line 2:", "no column 'answer'", "its columns are 'prompt', 'zzz'"),
        ({"answer": {"a": 1}}, {}, "line 2, column 'answer'", "got {'a': 1} (dict)", "mend the value"),
        ({"answer": True}, {}, "line 2, column 'answer'", "got True (bool)", "mend the value"),
        ({"answer": 0.5}, {}, "line 2, column 'answer'", "got 0.5 (float), a score", "make classes of the scores"),
        ({"answer": ["a", "b"]}, {}, "line 2, column 'answer'", "2 labels", "keep one of them"),
        ({"answer": "yess"}, {"choices": ("no", "yes")}, "line 2", "unknown answer 'yess'", "did you mean 'yes'?"),
        ({"answer": "?"}, {"choices": ("no", "yes")}, "line 2", "unknown answer '?'", "are ['no', 'yes']"),
        ({"prompt": " \n"}, {}, "line 2:", "prompt is empty", "give it a text or delete the row (1 of 2 rows"),
        ({"prompt": ""}, {"prompt": "Q: {{ prompt }}\nA:"}, "line 2:", "prompt is empty", "give it a text or delete"),
        ({"prompt": ["x"]}, {}, "line 2, column 'prompt'", "got ['x'] (list)", "mend the value"),
        ({"prompt": "\ud800"}, {}, "line 2, column 'prompt'", "not valid Unicode", "mend the value"),
        ({"key": "a"}, {"id": "key"}, "line 2:", "id 'a' was used before, at", "must be unique"),
        ({"key": ""}, {"id": "key"}, "line 2, column 'key' (task.id)", "empty", "fill it in"),
        ({"topic": ""}, {"group": "topic"}, "line 2, column 'topic' (task.group)", "empty", "fill it in"),
        ({"level": float("nan")}, {"difficulty": "level"}, "line 2, column 'level'", "got nan", "mend the value"),
        ({"level": float("inf")}, {"difficulty": "level"}, "line 2, column 'level'", "got inf", "mend the value"),
        ({"level": "hard"}, {"difficulty": "level"}, "line 2, column 'level'", "got 'hard'", "mend the value"),
        ({"level": None}, {"difficulty": "level"}, "line 2, column 'level'", "got None", "mend the value"),
        ({"level": True}, {"difficulty": "level"}, "line 2, column 'level'", "got True", "mend the value"),
        ({"level": 10**400}, {"difficulty": "level"}, "line 2, column 'level'", "finite number", "mend the value"),
        ({}, {"difficulty": "levle"}, "line 1:", "no column 'levle' (task.difficulty)", "did you mean 'level'?"),
        ({}, {"prompt": "Q:\n{{ promt }}"}, "line 1:", "'promt' (line 2 of the prompt template)", "mean 'prompt'?"),
    ],
)
def test_a_row_that_cannot_be_used_is_refused_with_place_and_mend(
    make: Make, bad: dict[str, Any], settings: dict[str, Any], place: str, complaint: str, mend: str
):
    lacking = {"prompt": OTHER["prompt"]} if {"answr", "zzz"} & bad.keys() else OTHER
    with pytest.raises(DataError) as caught:
        load_files(make(GOOD, lacking | bad, **settings))
    message = str(caught.value)
    assert all(part in message for part in (place, complaint, mend)), message
    assert "\n" not in message


def test_a_single_class_is_refused(make: Make):
    with pytest.raises(DataError, match=r"all 2 answers are 'yes'; a classifier needs two classes"):
        load_task(make(GOOD, OTHER | {"answer": "yes"}, choices=("no", "yes")))


A, B = Example("a", "a", "p", ("n", "y"), "n", 0.0), Example("b", "b", "q", ("n", "y"), "y", 1.0)


@pytest.mark.parametrize(
    ("examples", "choices", "message"),
    [
        ((), ("n", "y"), r"t: it has no examples; check the file"),
        ((A, B), ("n", "y", "n"), r"task\.choices names a class twice"),
        ((A, Example("a", "b", "q", ("n", "y"), "y")), ("n", "y"), r"the id 'a' occurs twice; ids must be unique"),
        ((A, Example("b", "b", " ", ("n", "y"), "y")), ("n", "y"), r"example 'b': its prompt is empty; give it"),
        ((A, Example("b", "b", "q", ("n", "y"), None)), ("n", "y"), r"example 'b': its answer None is none of"),
        ((A, Example("b", "b", "q", ("n", "y"), "maybe")), ("n", "y"), r"example 'b': its answer 'maybe' is none of"),
        ((A, Example("b", "b", "q", ("n", "y"), "y", float("nan"))), ("n", "y"), r"'b': its difficulty nan is no fin"),
        ((A, Example("b", "b", "q", ("n", "y"), "n")), ("n", "y"), r"all 2 answers are 'n'; a classifier needs two"),
    ],
)
def test_a_task_that_no_experiment_can_use_is_refused(
    examples: tuple[Example, ...], choices: tuple[str, ...], message: str
):
    with pytest.raises(DataError, match=message):
        validate_task(Task("t", examples, choices, "nowhere", "nothing"))


def test_an_answer_may_name_a_class_by_its_place(make: Make):
    rows = [GOOD | {"answer": k} for k in (0, 1, 1)]
    task = load_task(make(*rows, choices=("bad", "good"), answer_as="index"))
    assert [e.answer for e in task.examples] == ["bad", "good", "good"]
    with pytest.raises(DataError, match=r"line 1, column 'answer': expected a number from 1 to 2 .*, got '0'"):
        load_task(make(*rows, choices=("bad", "good"), answer_as="number"))
    with pytest.raises(ValueError, match="answer_as: index needs options or choices"):
        make(*rows, answer_as="index")


def test_true_and_false_are_answers_where_they_are_among_the_choices(make: Make):
    rows = [GOOD | {"answer": value} for value in (True, False)]
    assert [e.answer for e in load_task(make(*rows, choices=("false", "true"))).examples] == ["true", "false"]
    with pytest.raises(DataError, match=r"line 1, column 'answer': unknown answer 'true'"):
        load_task(make(*rows, choices=("no", "yes")))
