"""openbookqa: science questions of OpenBookQA, answered by the text of the right option.

Difficulty is the share of the people asked who answered wrongly.
"""

import math
from pathlib import Path
from typing import Any, Literal

from ensemw2s.config.base import Text
from ensemw2s.config.task import TaskSettings
from ensemw2s.data.answers import free_task
from ensemw2s.data.readers.load import read_rows
from ensemw2s.data.science import free_example, question_of, question_row
from ensemw2s.data.stand_in import N, json_lines
from ensemw2s.errors import DataError
from ensemw2s.examples import Task

FILES = ("train_complete.jsonl", "dev_complete.jsonl", "test_complete.jsonl")
SOURCE = "OpenBookQA (V1, September 2018), Apache-2.0"


class OpenBookQa(TaskSettings):
    name: Literal["openbookqa"] = "openbookqa"
    path: Text
    """The folder of the *_complete.jsonl files."""
    show_options: bool = False
    """List the options of a question in its prompt."""

    is_free = True
    has_options = True

    def load(self) -> Task:
        """All questions of the folder's files that people were asked, too.

        Raises:
            DataError: the folder or a file is missing, a question is malformed, or its `humanScore` is no share.
        """
        folder = Path(self.path)
        if not folder.is_dir():
            raise DataError(
                f"{self.path}: there is no such folder; set task.path to the folder of the *_complete.jsonl files"
            )
        examples = []
        for name in FILES:
            for place, row in read_rows(str(folder / name)):
                question = question_of(place, row, kind="an OpenBookQA question")
                rated = _human_error(place, row)
                if rated is not None:
                    id_ = f"openbookqa-{question.id}"
                    examples.append(free_example(id_, question, rated, show_options=self.show_options))
        return free_task("openbookqa", examples, SOURCE, "share of people who answered wrongly (1 - humanScore)")

    def stand_in(self) -> dict[str, str]:
        rows = [question_row(i) | {"humanScore": f"{i * 37 % N / N:.4f}"} for i in range(N)]
        return {name: json_lines(rows[n :: len(FILES)]) for n, name in enumerate(FILES)}


def _human_error(place: str, row: dict[str, Any]) -> float | None:
    """The share of wrong answers; None where nobody was asked."""
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
