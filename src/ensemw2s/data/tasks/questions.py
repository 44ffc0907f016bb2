"""Science questions with a few options each, answered by the text of the right one: ARC and OpenBookQA."""

import math
from pathlib import Path
from typing import Any

from ensemw2s.data.answers import ask, free_task
from ensemw2s.data.readers.load import read_rows
from ensemw2s.data.tasks.arc import DIFFICULTIES, Question, question_of, rated_questions, source_of
from ensemw2s.errors import DataError
from ensemw2s.records import Example, Task

OPENBOOKQA_FILES = ("train_complete.jsonl", "dev_complete.jsonl", "test_complete.jsonl")
OPENBOOKQA_SOURCE = "OpenBookQA (V1, September 2018), Apache-2.0"


def load_arc_qa(path: str, *, difficulty: str, show_options: bool = False) -> Task:
    """All questions of the ARC folder, each answered by the text of its right option.

    Questions without a usable annotation are left out where difficulty is an annotation.

    Raises:
        DataError: the folder or a file is missing, or a question is malformed.
    """
    examples = [
        _example(f"arc-{question.id}", question, rated, show_options)
        for _, question, rated in rated_questions(path, difficulty=difficulty)
    ]
    return free_task("arc-qa", examples, source_of(difficulty), DIFFICULTIES[difficulty])


def load_openbookqa(path: str, *, show_options: bool = False) -> Task:
    """All questions of the folder's files that people were asked too: the share of them who erred is the difficulty.

    Raises:
        DataError: the folder or a file is missing, a question is malformed, or its `humanScore` is no share.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(f"{path}: there is no such folder; set task.path to the folder of the *_complete.jsonl files")
    examples = []
    for name in OPENBOOKQA_FILES:
        for place, row in read_rows(str(folder / name)):
            question = question_of(place, row, kind="an OpenBookQA question")
            rated = _human_error(place, row)
            if rated is not None:
                examples.append(_example(f"openbookqa-{question.id}", question, rated, show_options))
    return free_task("openbookqa", examples, OPENBOOKQA_SOURCE, "share of people who answered wrongly (1 - humanScore)")


def _example(name: str, question: Question, difficulty: float, show_options: bool) -> Example:
    # Stripped, because the answer follows the prompt after one space; a few questions list an option twice.
    options = tuple(dict.fromkeys(option.strip() for option in question.options))
    prompt = ask(question.stem, options if show_options else None)
    return Example(name, question.id, prompt, options, question.right.strip(), difficulty)


def _human_error(place: str, row: dict[str, Any]) -> float | None:
    """None where nobody was asked."""
    value = row.get("humanScore")
    if value in (None, ""):
        return None
    try:
        score = float(value)
    except (TypeError, ValueError):
        score = math.nan
    if isinstance(value, bool) or not 0 <= score <= 1:
        raise DataError(f"{place}: humanScore must be a share from 0 to 1, got {value!r:.80}; mend it or delete it")
    return round(1 - score, 6)  # 1 - 0.8 is no 0.2
