"""Generated questions stand for every kind of data: they have its form, and the task's own loader reads them."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ensemw2s.config import TaskSettings
from ensemw2s.config.task import read_task, task_class
from ensemw2s.data.load import load_task
from ensemw2s.data.stand_in import N
from ensemw2s.errors import DataError
from ensemw2s.examples import Task


def standing_in(folder: Path, **settings: Any) -> tuple[TaskSettings, Task]:
    if "path" in task_class(settings).model_fields:
        settings = {"path": "nowhere"} | settings
    task = read_task(settings)
    for name, text in task.stand_in().items():
        (folder / name).write_text(text)
    found = task.small(folder)
    return found, load_task(found)


@pytest.mark.parametrize("difficulty", ["set", "grade", "difficulty", "depth_of_knowledge"])
@pytest.mark.parametrize("name", ["arc", "arc-qa"])
def test_arc_is_read_by_its_loader_whatever_its_difficulty(tmp_path, name, difficulty):
    _, task = standing_in(tmp_path, name=name, arc_difficulty=difficulty)
    assert len(task.examples) == N
    assert len({e.difficulty for e in task.examples}) > 1


@pytest.mark.parametrize("name", ["openbookqa", "gsm8k", "svamp"])
def test_the_other_built_in_files_are_read_by_their_loaders(tmp_path, name):
    _, task = standing_in(tmp_path, name=name)
    assert len(task.examples) == N
    assert len({e.difficulty for e in task.examples}) >= 3
    assert len({e.prompt for e in task.examples}) == N


def test_ratings_are_read_by_their_loader(tmp_path):
    _, task = standing_in(tmp_path, name="sentiment")
    assert {e.id.partition("-")[0] for e in task.examples} == {"films", "products", "editorials", "tweets"}
    assert len({e.difficulty for e in task.examples}) > 10


def test_embedded_tasks_write_nothing_and_are_small(tmp_path):
    for name in ("geo-facts", "geo-countries", "geo-records", "reasoning"):
        _, task = standing_in(tmp_path, name=name)
        assert 100 < len(task.examples) < 1000
    assert not list(tmp_path.iterdir())


def test_every_column_that_own_data_name_is_there(tmp_path):
    found, task = standing_in(
        tmp_path,
        name="files",
        path="hub:owner/name",
        prompt="{{ title }}: {{ row['the text'] }}",
        answer="label",
        answer_as="index",
        choices=("bad", "middling", "good"),
        difficulty="level",
        id="key",
        group="topic",
    )
    assert found.path == str(tmp_path / "path.jsonl")
    assert found.choices == ("bad", "middling", "good")
    assert set(Counter(e.answer for e in task.examples).values()) <= {N // 3, N // 3 + 1}
    assert task.examples[1].prompt == "title has middling in 1: the text has middling in 1"
    assert sorted(e.difficulty or 0.0 for e in task.examples) == [float(i) for i in range(N)]
    assert task.examples[1].group_id == "topic 1"


@pytest.mark.parametrize("answer_as", ["text", "letter", "index", "number"])
@pytest.mark.parametrize("options", [("choices.text",), ("a", "b", "c")])
def test_options_are_there_in_their_columns(tmp_path, options, answer_as):
    _, task = standing_in(
        tmp_path,
        name="files",
        answer_form="free",
        prompt="{{ q }}{% for o in options %} {{ o }}{% endfor %}",
        options=options,
        answer_as=answer_as,
    )
    for example in task.examples:
        assert example.answer in (example.choices or ())
        assert all(option in example.prompt for option in example.choices or ())


def test_right_and_wrong_answers_are_there(tmp_path):
    _, task = standing_in(tmp_path, name="files", prompt="{{ q }} {{ candidate }}", right="yes", wrong=("no", "never"))
    assert {(e.prompt.split()[-2] if "false" in e.prompt else "true", e.answer) for e in task.examples} >= {
        ("true", "yes")
    }
    assert {e.answer for e in task.examples} == {"no", "yes"}
    assert all(("true" in e.prompt) == (e.answer == "yes") for e in task.examples)


def test_each_file_of_own_data_has_its_own_questions(tmp_path):
    found, task = standing_in(tmp_path, name="files", prompt="{{ q }}", unlabelled="hub:a/b", test="t.csv")
    assert (found.unlabelled, found.test) == (str(tmp_path / "unlabelled.jsonl"), str(tmp_path / "test.jsonl"))
    prompts = [{e.prompt for e in part} for part in (task.examples, task.unlabelled, task.test)]
    assert len(set.union(*prompts)) == 3 * N
    assert {e.answer for e in task.unlabelled} == {None}


def test_a_malformed_template_is_refused_as_ever(tmp_path):
    with pytest.raises(DataError, match="prompt template"):
        standing_in(tmp_path, name="files", prompt="{{ q")
