"""svamp: short word problems, answered by a number. Difficulty is the number of operations of the equation."""

import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from ensemw2s.config.base import Text
from ensemw2s.config.task import TaskSettings
from ensemw2s.data.answers import ask, final_number, free_task
from ensemw2s.data.readers.load import text_in
from ensemw2s.data.stand_in import N
from ensemw2s.errors import DataError
from ensemw2s.examples import Example, Task
from ensemw2s.reading import load_json, read_text

SOURCE = "SVAMP (Patel et al., 2021), MIT"
FILE_BYTES = 2**26
OPERATORS = ("+", "-", "*", "/")


class Svamp(TaskSettings):
    name: Literal["svamp"] = "svamp"
    path: Text
    """The folder of SVAMP.json."""

    is_free = True

    def load(self) -> Task:
        """The problems of SVAMP.json.

        Raises:
            DataError: the folder or the file is missing or no JSON list, or a problem is malformed.
        """
        file = Path(self.path) / "SVAMP.json"
        text = read_text(file, DataError, limit=FILE_BYTES, mend="set task.path to the folder of SVAMP.json")
        try:
            rows = load_json(text)
        except ValueError as error:
            raise DataError(f"{file}: not readable as JSON ({error}); get the file anew") from None
        if not isinstance(rows, list):
            raise DataError(f"{file}: expected a list of problems, got {type(rows).__name__}; get the file anew")
        examples = []
        for number, row in enumerate(rows, start=1):
            place = f"{file} item {number}"
            if not isinstance(row, dict):
                raise DataError(f"{place}: expected an object, got {type(row).__name__}; get the file anew")
            name = f"svamp-{text_in(place, row, 'ID')}"
            body, asked, equation = (text_in(place, row, key) for key in ("Body", "Question", "Equation"))
            question = f"{body}{' ' if body.endswith(('.', ',', '!', '?', ';', ':')) else ', '}{asked}"
            operations = sum(token in OPERATORS for token in equation.split())
            examples.append(Example(name, name, ask(question), None, _answer(place, row), float(operations)))
        return free_task("svamp", examples, SOURCE, "operations of the equation", verifier="number")

    def stand_in(self) -> dict[str, str]:
        return {"SVAMP.json": json.dumps([_problem(i) for i in range(N)])}


def _answer(place: str, row: dict[str, Any]) -> str:
    value = row.get("Answer")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"{place}: 'Answer' must be a finite number, got {value!r:.80}; get the file anew")
    number = final_number(f"{Decimal(repr(value)):f}")
    assert number is not None
    return number


def _problem(i: int) -> dict[str, Any]:
    n = 1 + i % 3
    return {
        "ID": f"q-{i}",
        "Body": f"There are {i} balls",
        "Question": f"How many are there with {n} more?",
        "Equation": f"{i} " + "+ 1 " * n,
        "Answer": float(i + n),
    }
