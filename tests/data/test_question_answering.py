"""ARC, OpenBookQA, GSM8K and SVAMP with free answers: on planted folders, and on the real files where at hand."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ensemw2s.config import SplitConfig, parse_config
from ensemw2s.config.task import read_task
from ensemw2s.data.answers import final_number, is_right
from ensemw2s.data.load import load_task
from ensemw2s.data.science import PARTS, SETS
from ensemw2s.data.splits import make_split
from ensemw2s.data.tasks.arc_qa import ArcQa
from ensemw2s.data.tasks.gsm8k import Gsm8k
from ensemw2s.data.tasks.openbookqa import FILES, OpenBookQa
from ensemw2s.data.tasks.svamp import Svamp
from ensemw2s.errors import ConfigError, DataError
from tiny_run import write_jsonl

REAL = Path(__file__).parents[2].parent / "shared" / "data"


def question(name: str, **more: Any) -> dict[str, Any]:
    texts = {"A": f"{name} one", "B": f" {name} two ", "C": f"{name} one", "D": f"{name} three"}
    choices = [{"text": text, "label": label} for label, text in texts.items()]
    return {"id": name, "question": {"stem": f"Which of {name}?", "choices": choices}, "answerKey": "B"} | more


def arc(folder: Path) -> Path:
    for name, _ in SETS:
        for part in PARTS:
            write_jsonl(folder / f"ARC-{name}-{part}.jsonl", [question(f"{name}-{part}-{i}") for i in range(3)])
    return folder


def openbookqa(folder: Path) -> Path:
    scores: list[Any] = ["1.00", "0.80", 0.5, None]
    for part in FILES:
        write_jsonl(folder / part, [question(f"{part[:3]}-{i}", humanScore=s) for i, s in enumerate(scores)])
    return folder


def gsm8k(folder: Path) -> Path:
    rows = [
        {"question": "How many?", "answer": "It is 3+4=<<3+4=7>>7.\nTwice: <<7*2=14>>14\n#### 14"},
        {"question": "How much?", "answer": "He pays 2*600=$<<2*600=1200>>1,200.\n#### 1,200"},
        {"question": "Unmarked?", "answer": "Seven.\n#### 7"},
    ]
    for part in ("train", "test"):
        write_jsonl(folder / f"{part}.jsonl", rows)
    return folder


PROBLEM = {"ID": "p", "Body": "He has 3.", "Question": "How many?", "Equation": "( 3.0 - 1.0 )", "Answer": 2.0}


def svamp(folder: Path, *rows: Any) -> Path:
    (folder / "SVAMP.json").write_text(json.dumps(list(rows)))
    return folder


OPTIONS = "\nOptions:\n- {0} one\n- {0} two\n- {0} three"


@pytest.mark.parametrize("show", [False, True])
def test_a_question_is_answered_by_the_text_of_its_right_option(tmp_path: Path, show: bool):
    science = load_task(ArcQa(path=str(arc(tmp_path)), show_options=show))
    book = load_task(OpenBookQa(path=str(openbookqa(tmp_path)), show_options=show))
    assert (len(science.examples), len(book.examples)) == (18, 9)
    for e in (*science.examples, *book.examples):
        assert e.choices == tuple(f"{e.group_id} {n}" for n in ("one", "two", "three"))
        assert e.answer == f"{e.group_id} two"
        listed = OPTIONS.format(e.group_id) if show else ""
        assert e.prompt == f"Question: Which of {e.group_id}?{listed}\nAnswer:"
    assert {e.difficulty for e in book.examples} == {0.0, 0.2, 0.5}
    assert all(e.difficulty == float("Challenge" in e.id) for e in science.examples)
    assert all((t.answer_form, t.verifier) == ("free", "text") for t in (science, book))


def test_a_word_problem_is_answered_by_its_number(tmp_path: Path):
    task = load_task(Gsm8k(path=str(gsm8k(tmp_path))))
    assert [(e.id, e.answer, e.difficulty) for e in task.examples] == [
        ("gsm8k-train-1", "14", 2.0),
        ("gsm8k-train-2", "1200", 1.0),
        ("gsm8k-test-1", "14", 2.0),
        ("gsm8k-test-2", "1200", 1.0),
    ]
    assert task.examples[0].prompt == "Question: How many?\nAnswer:"
    assert task.verifier == "number"


def test_a_worked_answer_is_the_solution_without_its_marks(tmp_path: Path):
    task = load_task(Gsm8k(path=str(gsm8k(tmp_path)), worked=True))
    assert task.examples[0].answer == "It is 3+4=7.\nTwice: 14\n#### 14"
    assert task.examples[1].answer == "He pays 2*600=$1,200.\n#### 1200"


def test_the_operations_of_the_equation_are_the_difficulty(tmp_path: Path):
    no_stop = {"ID": "q", "Body": "If he has 5", "Equation": "( ( 5.0 * 2.0 ) + -1.5 )", "Answer": 8.5}
    task = load_task(Svamp(path=str(svamp(tmp_path, PROBLEM, PROBLEM | no_stop))))
    assert [(e.id, e.prompt, e.answer, e.difficulty) for e in task.examples] == [
        ("svamp-p", "Question: He has 3. How many?\nAnswer:", "2", 1.0),
        ("svamp-q", "Question: If he has 5, How many?\nAnswer:", "8.5", 2.0),
    ]
    assert task.verifier == "number"


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (question("x", answerKey="Z"), "not an OpenBookQA question ('Z'"),
        (question("x", question={"stem": "?", "choices": [{"text": 3, "label": "B"}]}), "an option among [3]"),
        (question("x", humanScore="often"), "humanScore must be a share from 0 to 1, got 'often'"),
        (question("x", humanScore=1.5), "humanScore must be a share from 0 to 1, got 1.5"),
        (question("x", humanScore=True), "humanScore must be a share from 0 to 1, got True"),
    ],
)
def test_a_malformed_question_is_refused_with_its_line(tmp_path: Path, row: dict[str, Any], complaint: str):
    folder = openbookqa(tmp_path)
    write_jsonl(folder / FILES[1], [question("fine"), row])
    with pytest.raises(DataError) as caught:
        OpenBookQa(path=str(folder)).load()
    assert f"{FILES[1]} line 2:" in str(caught.value)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"question": "?", "answer": "seven"}, "must end with a line like '#### 7', got 'seven'"),
        ({"question": "?", "answer": "#### seven"}, "must end with a line like '#### 7'"),
        ({"question": "?"}, "'answer' must be a text, got None"),
        ({"question": " ", "answer": "#### 7"}, "'question' must be a text, got ' '"),
    ],
)
def test_a_malformed_word_problem_is_refused_with_its_line(tmp_path: Path, row: dict[str, Any], complaint: str):
    folder = gsm8k(tmp_path)
    write_jsonl(folder / "test.jsonl", [{"question": "?", "answer": "#### 7"}, row])
    with pytest.raises(DataError) as caught:
        Gsm8k(path=str(folder)).load()
    assert "test.jsonl line 2:" in str(caught.value)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("text", "expected an object, got str"),
        (PROBLEM | {"Answer": "2"}, "'Answer' must be a finite number, got '2'"),
        (PROBLEM | {"Answer": True}, "'Answer' must be a finite number, got True"),
        (PROBLEM | {"Answer": float("nan")}, "'Answer' must be a finite number, got nan"),
        (PROBLEM | {"Equation": None}, "'Equation' must be a text, got None"),
        (PROBLEM | {"ID": ""}, "'ID' must be a text, got ''"),
    ],
)
def test_a_malformed_problem_of_svamp_is_refused_with_its_place(tmp_path: Path, row: Any, complaint: str):
    with pytest.raises(DataError) as caught:
        Svamp(path=str(svamp(tmp_path, PROBLEM, row))).load()
    assert "SVAMP.json item 2:" in str(caught.value)
    assert complaint in str(caught.value)
    assert "get the file anew" in str(caught.value)


@pytest.mark.parametrize("name", ["arc-qa", "openbookqa", "gsm8k", "svamp"])
def test_a_missing_folder_or_path_is_refused_with_the_mend(tmp_path: Path, name: str):
    with pytest.raises(DataError, match=r"there is no such (folder|file); set task\.path to the folder of"):
        load_task(read_task({"name": name, "path": str(tmp_path / "gone")}))
    with pytest.raises(ConfigError, match=r"task\.path: this setting must be given"):
        parse_config({"task": {"name": name}})


def test_an_unreadable_svamp_is_refused(tmp_path: Path):
    (tmp_path / "SVAMP.json").write_text("[{")
    with pytest.raises(DataError, match=r"SVAMP\.json: not readable as JSON .*; get the file anew"):
        Svamp(path=str(tmp_path)).load()
    (tmp_path / "SVAMP.json").write_text("{}")
    with pytest.raises(DataError, match=r"SVAMP\.json: expected a list of problems, got dict"):
        Svamp(path=str(tmp_path)).load()


def test_a_question_of_arc_may_list_one_option_only_where_it_is_not_judged(tmp_path: Path):
    row = question("x", question={"stem": "?", "choices": [{"text": "t", "label": "B"}]})
    write_jsonl(arc(tmp_path) / "ARC-Easy-Dev.jsonl", [row])
    assert "arc-x" in {e.id for e in ArcQa(path=str(tmp_path)).load().examples}


SMALL = {"n_easy_pool": 120, "n_easy_train": 80, "n_easy_val": 40, "n_id_test": 80}
SMALL |= {"n_hard_pool": 100, "n_hard_unlabelled": 80, "n_ood_test": 80}


@pytest.mark.shared
@pytest.mark.skipif(not REAL.is_dir(), reason="the benchmark data folder ../shared/data is absent")
@pytest.mark.parametrize(
    ("name", "settings", "n", "values"),
    [
        ("arc-qa", {}, 7787, {0.0, 1.0}),
        ("arc-qa", {"arc_difficulty": "grade"}, 5120, {3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0}),
        ("openbookqa", {"show_options": True}, 5957, {0.0, 0.14, 0.17, 0.2}),
        ("gsm8k", {}, 8679, set(map(float, range(1, 10)))),
        ("gsm8k", {"worked": True}, 8679, set(map(float, range(1, 10)))),
        ("svamp", {}, 1000, {0.0, 1.0, 2.0}),
    ],
)
def test_the_real_files_load_and_split(name: str, settings: dict[str, Any], n: int, values: set[float]):
    folder = REAL / name.removesuffix("-qa")
    task = load_task(read_task({"name": name, "path": str(folder)} | settings))
    assert len(task.examples) == n
    assert {e.difficulty for e in task.examples} == values
    assert Counter(e.answer for e in task.examples).most_common(1)[0][1] < 0.08 * n
    for e in task.examples:
        assert e.answer == (e.answer or "").strip()
        assert e.prompt.startswith("Question: ")
        assert e.prompt.endswith("\nAnswer:")
        assert is_right(f" {e.answer}", e.answer or "", verifier=task.verifier)
        if settings.get("worked"):
            assert "<<" not in (e.answer or "")
            assert (e.answer or "").endswith(f"\n#### {final_number(e.answer or '')}")
    split = make_split(task, SplitConfig.model_validate(SMALL))
    hard = split.difficulty[list(split.pools["hard_pool"])]
    assert split.difficulty[list(split.pools["easy_pool"])].max() < hard.min()
