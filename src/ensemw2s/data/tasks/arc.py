"""ARC as "is this answer right?": the AI2 Reasoning Challenge, one candidate answer per question."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ensemw2s.core.seeds import stream_seed
from ensemw2s.data.readers.load import read_rows
from ensemw2s.errors import DataError
from ensemw2s.reading import load_json, read_text
from ensemw2s.records import Example, Task

CHOICES = ("no", "yes")
SOURCE = "AI2 Reasoning Challenge (ARC V1, February 2018), CC BY-SA 4.0"
ANNOTATED = f"{SOURCE}; annotations from AI2's easy-to-hard-generalization, Apache-2.0"
SETS = (("Easy", 0.0), ("Challenge", 1.0))
FILE_BYTES = 2**28
"""Of the annotations."""
PARTS = ("Train", "Dev", "Test")
SCALES = {
    # The two subjects are high-school examinations, beyond grade 8.
    "grade": {f"Grade {g:02}": float(g) for g in range(1, 13)} | {"Biology": 9.0, "Earth and Space Sciences": 9.0},
    "difficulty": {"Low": 0.0, "Medium": 1.0, "High": 2.0},
    "depth_of_knowledge": {"I": 1.0, "II": 2.0, "III": 3.0, "IV": 4.0},
}
DIFFICULTIES = {
    "set": "Challenge (1) against Easy (0)",
    "grade": "school grade, annotated by people (9: a high-school subject)",
    "difficulty": "Low (0), Medium (1) or High (2), annotated by people",
    "depth_of_knowledge": "Webb's depth of knowledge, annotated by people",
}


@dataclass(frozen=True, slots=True)
class Question:
    """One question of ARC, or of a data set in its form."""

    id: str
    stem: str
    options: tuple[str, ...]
    right: str


def load_arc(path: str, *, difficulty: str, seed: int) -> Task:
    """All questions of the folder's files, each with its right answer or, at even odds, a wrong one.

    The candidate of a question is drawn from its own stream, so that no other question changes it. Questions
    without a usable annotation are left out where difficulty is an annotation.

    Raises:
        DataError: the folder or a file is missing, or a question is malformed.
    """
    examples = []
    for place, question, rated in rated_questions(path, difficulty=difficulty):
        wrong = [option for option in question.options if option.strip() != question.right.strip()]
        if not wrong:
            raise DataError(f"{place}: the question has no wrong answer to draw from; get the file anew")
        rng = random.Random(stream_seed(seed, "arc", question.id))
        is_right = rng.random() < 0.5
        candidate = question.right if is_right else rng.choice(wrong)
        prompt = f"Question: {question.stem}\nAnswer: {candidate}\nIs this answer right?"
        examples.append(Example(f"arc-{question.id}", question.id, prompt, CHOICES, CHOICES[is_right], rated))
    return Task("arc", tuple(examples), CHOICES, source_of(difficulty), DIFFICULTIES[difficulty])


def source_of(difficulty: str) -> str:
    return SOURCE if difficulty == "set" else ANNOTATED


def rated_questions(path: str, *, difficulty: str) -> Iterator[tuple[str, Question, float]]:
    """Place, question and difficulty of all rows of the folder that have this difficulty.

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


def question_of(place: str, row: dict[str, Any], *, kind: str = "an ARC question") -> Question:
    """One row as a question. Raises DataError for a malformed one."""
    try:
        texts = {choice["label"]: choice["text"] for choice in row["question"]["choices"]}
        if not all(isinstance(text, str) and text.strip() for text in texts.values()):
            raise TypeError(f"an option among {list(texts.values())}")
        return Question(str(row["id"]), str(row["question"]["stem"]), tuple(texts.values()), texts[row["answerKey"]])
    except (KeyError, TypeError) as error:
        raise DataError(f"{place}: not {kind} ({error} is missing or malformed); get the file anew") from None


def _annotations(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / "annotations.json"
    text = read_text(path, DataError, limit=FILE_BYTES, mend="task.arc_difficulty: set needs no annotations")
    try:
        found = load_json(text)
    except ValueError as error:
        raise DataError(f"{path}: not readable as JSON ({error}); get the file anew") from None
    if not isinstance(found, dict) or not all(isinstance(each, dict) for each in found.values()):
        raise DataError(f"{path}: expected an object of objects, one to a question; get the file anew")
    return found


def _rated(annotation: dict[str, Any], difficulty: str) -> float | None:
    """The annotation as a number; None where there is none."""
    value = annotation.get(difficulty)
    if value is None:
        return None
    scale = SCALES[difficulty]
    if value not in scale:
        raise DataError(f"annotations.json: unknown {difficulty} {value!r}; known are {', '.join(scale)}")
    return scale[value]
