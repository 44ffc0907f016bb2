"""Multiple-choice questions in the form of ARC's files, which OpenBookQA shares, and the difficulties of ARC."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ensemw2s.data.answers import ask
from ensemw2s.data.readers.load import read_rows
from ensemw2s.data.stand_in import COLOURS, N, json_lines
from ensemw2s.errors import DataError
from ensemw2s.examples import Example
from ensemw2s.reading import load_json, read_text

SOURCE = "AI2 Reasoning Challenge (ARC V1, February 2018), CC BY-SA 4.0"
ANNOTATED = f"{SOURCE}; annotations from AI2's easy-to-hard-generalization, Apache-2.0"
SETS = (("Easy", 0.0), ("Challenge", 1.0))
PARTS = ("Train", "Dev", "Test")
FILE_BYTES = 2**28
"""Of the annotations."""
ArcDifficulty = Literal["set", "grade", "difficulty", "depth_of_knowledge"]
DIFFICULTIES = {
    "set": "Challenge (1) against Easy (0)",
    "grade": "school grade, annotated by people (9: a high-school subject)",
    "difficulty": "Low (0), Medium (1) or High (2), annotated by people",
    "depth_of_knowledge": "Webb's depth of knowledge, annotated by people",
}
SCALES = {
    # The two subjects are high-school examinations, beyond grade 8.
    "grade": {f"Grade {g:02}": float(g) for g in range(1, 13)} | {"Biology": 9.0, "Earth and Space Sciences": 9.0},
    "difficulty": {"Low": 0.0, "Medium": 1.0, "High": 2.0},
    "depth_of_knowledge": {"I": 1.0, "II": 2.0, "III": 3.0, "IV": 4.0},
}


@dataclass(frozen=True, slots=True)
class Question:
    """One question with its options."""

    id: str
    stem: str
    options: tuple[str, ...]
    right: str


def question_of(place: str, row: dict[str, Any], *, kind: str = "an ARC question") -> Question:
    """One row as a question. Raises DataError for a malformed one."""
    try:
        texts = {choice["label"]: choice["text"] for choice in row["question"]["choices"]}
        if not all(isinstance(text, str) and text.strip() for text in texts.values()):
            raise TypeError(f"an option among {list(texts.values())}")
        return Question(str(row["id"]), str(row["question"]["stem"]), tuple(texts.values()), texts[row["answerKey"]])
    except (KeyError, TypeError) as error:
        raise DataError(f"{place}: not {kind} ({error} is missing or malformed); get the file anew") from None


def free_example(name: str, question: Question, difficulty: float, *, show_options: bool) -> Example:
    """The question as one that is answered by the text of its right option."""
    # Stripped, because the answer follows the prompt after one space; a few questions list an option twice.
    options = tuple(dict.fromkeys(option.strip() for option in question.options))
    prompt = ask(question.stem, options if show_options else None)
    return Example(name, question.id, prompt, options, question.right.strip(), difficulty)


def arc_source(difficulty: ArcDifficulty) -> str:
    return SOURCE if difficulty == "set" else ANNOTATED


def arc_questions(path: str, difficulty: ArcDifficulty) -> Iterator[tuple[str, Question, float]]:
    """Place, question and difficulty of all questions in ARC's folder that have this difficulty.

    Raises:
        DataError: the folder or a file is missing, or a question is malformed.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(f"{path}: there is no such folder; set task.path to the folder of the ARC-*.jsonl files")
    annotations = _annotations(folder) if difficulty != "set" else {}
    for name, hardness in SETS:
        prefix = "ARCEZ_" if name == "Easy" else "ARCCH_"
        for part in PARTS:
            for place, row in read_rows(str(folder / f"ARC-{name}-{part}.jsonl")):
                question = question_of(place, row)
                annotation = annotations.get(prefix + question.id, {})
                rated = hardness if difficulty == "set" else _rated(annotation, difficulty)
                if rated is not None:
                    yield place, question, rated


def question_row(i: int) -> dict[str, Any]:
    """Row i of a stand-in, in the form of ARC and OpenBookQA."""
    right = i % len(COLOURS)
    choices = [{"text": colour, "label": label} for colour, label in zip(COLOURS, "ABCD", strict=True)]
    stem = f"Which colour has ball {i}, which is {COLOURS[right]}?"
    return {"id": f"Q{i}", "question": {"stem": stem, "choices": choices}, "answerKey": "ABCD"[right]}


def arc_stand_in(difficulty: ArcDifficulty) -> dict[str, str]:
    """The files of a stand-in for ARC's folder, by name; with annotations where the difficulty is one."""
    names = [f"ARC-{name}-{part}" for name, _ in SETS for part in PARTS]
    questions = {name: [question_row(i) for i in range(n, N, len(names))] for n, name in enumerate(names)}
    files = {f"{name}.jsonl": json_lines(rows) for name, rows in questions.items()}
    if difficulty != "set":
        scale = list(SCALES[difficulty])
        keys = [
            f"{'ARCEZ' if 'Easy' in name else 'ARCCH'}_{row['id']}" for name, rows in questions.items() for row in rows
        ]
        files["annotations.json"] = json.dumps({key: {difficulty: scale[n % len(scale)]} for n, key in enumerate(keys)})
    return files


def _annotations(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / "annotations.json"
    text = read_text(path, DataError, limit=FILE_BYTES, mend="task.arc_difficulty: set needs no annotations")
    try:
        annotations = load_json(text)
    except ValueError as error:
        raise DataError(f"{path}: not readable as JSON ({error}); get the file anew") from None
    if not isinstance(annotations, dict) or not all(isinstance(each, dict) for each in annotations.values()):
        raise DataError(f"{path}: expected an object of objects, one to a question; get the file anew")
    return annotations


def _rated(annotation: dict[str, Any], difficulty: ArcDifficulty) -> float | None:
    """The annotation as a number; None where there is none."""
    value = annotation.get(difficulty)
    if value is None:
        return None
    scale = SCALES[difficulty]
    if value not in scale:
        raise DataError(f"annotations.json: unknown {difficulty} {value!r}; known are {', '.join(scale)}")
    return scale[value]
