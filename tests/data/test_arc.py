"""ARC on a planted folder, and on the real files where they are at hand."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ensemw2s.config import SplitConfig
from ensemw2s.data.load import load_task
from ensemw2s.data.science import PARTS, SETS
from ensemw2s.data.splits import make_split
from ensemw2s.data.tasks.arc import Arc
from ensemw2s.errors import DataError
from ensemw2s.examples import Task

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "arc"


def question(name: str, n_choices: int = 4) -> dict[str, Any]:
    choices = [{"text": f"{name} {label}", "label": label} for label in "ABCDE"[:n_choices]]
    return {"id": name, "question": {"stem": f"Which of {name}?", "choices": choices}, "answerKey": "B"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """40 questions in each of the six files; every second one is annotated."""
    annotations = {}
    for name, _ in SETS:
        for part in PARTS:
            rows = [question(f"{name}-{part}-{i}") for i in range(40)]
            (tmp_path / f"ARC-{name}-{part}.jsonl").write_text("\n".join(map(json.dumps, rows)))
            prefix = "ARCEZ_" if name == "Easy" else "ARCCH_"
            level = "Low" if name == "Easy" else "High"
            annotations |= {prefix + row["id"]: {"difficulty": level, "grade": "Biology"} for row in rows[::2]}
    (tmp_path / "annotations.json").write_text(json.dumps(annotations))
    return tmp_path


def by_id(task: Task) -> dict[str, Any]:
    return {e.id: e for e in task.examples}


def test_each_question_of_all_six_files_gives_one_candidate_that_is_right_half_the_time(folder: Path):
    task = Arc(path=str(folder)).load()
    assert len(task.examples) == len(by_id(task)) == 240
    for e in task.examples:
        candidate = e.prompt.removeprefix(f"Question: Which of {e.group_id}?\nAnswer: ").removesuffix(
            "\nIs this answer right?"
        )
        name, label = candidate.rsplit(" ", 1)
        assert name == e.group_id == e.id.removeprefix("arc-")
        assert (label == "B") == (e.answer == "yes")
        assert e.difficulty == float("Challenge" in e.id)
    labels = Counter(e.prompt.split("\n")[1][-1] for e in task.examples)
    assert abs(labels["B"] - 120) < 31  # four standard deviations
    assert all(abs(labels[wrong] - 40) < 24 for wrong in "ACD")


def test_the_seed_decides_the_candidates_and_another_question_changes_none(folder: Path):
    before = Arc(path=str(folder)).load()
    assert Arc(path=str(folder), seed=1).load().examples != before.examples
    with (folder / "ARC-Easy-Train.jsonl").open("a") as file:
        file.write("\n" + json.dumps(question("added")))
    after = Arc(path=str(folder)).load()
    assert by_id(after).items() - by_id(before).items() == {("arc-added", by_id(after)["arc-added"])}


def test_an_annotation_as_difficulty_drops_the_questions_that_lack_it(folder: Path):
    task = Arc(path=str(folder), arc_difficulty="difficulty").load()
    assert len(task.examples) == 120
    assert all(e.difficulty == (2.0 if "Challenge" in e.id else 0.0) for e in task.examples)
    assert {e.difficulty for e in Arc(path=str(folder), arc_difficulty="grade").load().examples} == {9.0}
    assert Arc(path=str(folder), arc_difficulty="depth_of_knowledge").load().examples == ()


def test_the_source_names_every_licence_that_the_task_draws_on(folder: Path):
    assert "CC BY-SA 4.0" in Arc(path=str(folder)).load().source
    source = Arc(path=str(folder), arc_difficulty="grade").load().source
    assert "CC BY-SA 4.0" in source
    assert "Apache-2.0" in source


def without(row: dict[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k != key}


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (without(question("x"), "answerKey"), "not an ARC question ('answerKey'"),
        (question("x") | {"answerKey": "Z"}, "not an ARC question ('Z'"),
        (question("x") | {"question": None}, "not an ARC question"),
        (without(question("x"), "id"), "not an ARC question ('id'"),
        (
            question("x", n_choices=2) | {"question": {"stem": "?", "choices": [{"text": "t", "label": "B"}]}},
            "no wrong",
        ),
    ],
)
def test_a_malformed_question_is_refused_with_its_line(folder: Path, row: dict[str, Any], complaint: str):
    path = folder / "ARC-Easy-Dev.jsonl"
    path.write_text(json.dumps(question("fine")) + "\n" + json.dumps(row))
    with pytest.raises(DataError) as caught:
        Arc(path=str(folder)).load()
    message = str(caught.value)
    assert "ARC-Easy-Dev.jsonl line 2:" in message
    assert complaint in message
    assert "get the file anew" in message


def test_missing_and_unreadable_files_are_refused_with_the_mend(folder: Path):
    with pytest.raises(DataError, match=r"there is no such folder; set task\.path to the folder of the ARC"):
        Arc(path=str(folder / "gone")).load()
    (folder / "annotations.json").write_text('{"a": ')
    with pytest.raises(DataError, match=r"annotations\.json: not readable as JSON .*; get the file anew"):
        Arc(path=str(folder), arc_difficulty="grade").load()
    (folder / "annotations.json").write_text(json.dumps({"ARCEZ_Easy-Train-0": {"grade": "Kindergarten"}}))
    with pytest.raises(DataError, match=r"unknown grade 'Kindergarten'; known are Grade 01"):
        Arc(path=str(folder), arc_difficulty="grade").load()
    (folder / "annotations.json").unlink()
    with pytest.raises(DataError, match=r"annotations\.json: there is no such file; task\.arc_difficulty: set needs"):
        Arc(path=str(folder), arc_difficulty="grade").load()
    (folder / "ARC-Challenge-Test.jsonl").unlink()
    with pytest.raises(DataError, match=r"ARC-Challenge-Test\.jsonl: there is no such file"):
        Arc(path=str(folder)).load()


@pytest.mark.shared
@pytest.mark.skipif(not REAL.is_dir(), reason="the benchmark data folder ../shared/data is absent")
@pytest.mark.parametrize(
    ("difficulty", "n", "values"),
    [
        ("set", 7787, {0.0, 1.0}),
        ("grade", 5120, {3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0}),
        ("difficulty", 5120, {0.0, 1.0, 2.0}),
        ("depth_of_knowledge", 5120, {1.0, 2.0, 3.0}),
    ],
)
def test_the_real_files_load_balanced_and_split_by_every_difficulty(difficulty: str, n: int, values: set[float]):
    task = load_task(Arc(path=str(REAL), arc_difficulty=difficulty))  # type: ignore[arg-type]
    assert len(task.examples) == n
    assert {e.difficulty for e in task.examples} == values
    assert abs(sum(e.answer == "yes" for e in task.examples) - n / 2) < 2 * n**0.5
    sizes = {"n_easy_pool": 300, "n_easy_train": 200, "n_easy_val": 100, "n_id_test": 100}
    sizes |= {"n_hard_pool": 300, "n_hard_unlabelled": 200, "n_ood_test": 100}
    split = make_split(task, SplitConfig.model_validate(sizes))
    hard = split.difficulty[list(split.pools["hard_pool"])]
    assert split.difficulty[list(split.pools["easy_pool"])].max() < hard.min()
