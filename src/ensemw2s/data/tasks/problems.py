"""Word problems answered by a number: GSM8K and SVAMP."""

import math
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

from ensemw2s.data.answers import ask, final_number, free_task
from ensemw2s.data.readers.load import read_rows
from ensemw2s.errors import DataError
from ensemw2s.reading import load_json, read_text
from ensemw2s.records import Example, Task

GSM8K_SOURCE = "GSM8K (Grade School Math 8K, OpenAI, 2021), MIT"
SVAMP_SOURCE = "SVAMP (Patel et al., 2021), MIT"
FILE_BYTES = 2**26
OPERATORS = ("+", "-", "*", "/")


def load_gsm8k(path: str, *, worked: bool = False) -> Task:
    """The problems of train.jsonl and test.jsonl; harder where the solution has more calculator marks.

    Solutions without any mark are left out: it was not recorded how many steps they take. With `worked`, the answer
    is the whole solution without the marks, and ends with #### and the number.

    Raises:
        DataError: the folder or a file is missing, or a problem is malformed.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(f"{path}: there is no such folder; set task.path to the folder of train.jsonl and test.jsonl")
    examples = []
    for part in ("train", "test"):
        for number, (place, row) in enumerate(read_rows(str(folder / f"{part}.jsonl")), start=1):
            question, solution = _text(place, row, "question"), _text(place, row, "answer")
            steps, mark, final = solution.rpartition("####")
            value = final_number(final)
            if not mark or value is None:
                raise DataError(
                    f"{place}: the answer must end with a line like '#### 7', got {solution[-40:]!r}; get the file anew"
                )
            difficulty = steps.count("<<")
            if not difficulty:
                continue
            answer = re.sub(r"<<[^>]*>>", "", steps).strip() + f"\n#### {value}" if worked else value
            name = f"gsm8k-{part}-{number}"
            examples.append(Example(name, name, ask(question), None, answer, float(difficulty)))
    return free_task("gsm8k", examples, GSM8K_SOURCE, "steps of the solution (calculator marks)", verifier="number")


def load_svamp(path: str) -> Task:
    """The problems of SVAMP.json; harder where the equation has more operations.

    Raises:
        DataError: the folder or the file is missing or no JSON list, or a problem is malformed.
    """
    file = Path(path) / "SVAMP.json"
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
        name = f"svamp-{_text(place, row, 'ID')}"
        body, asked, equation = (_text(place, row, key) for key in ("Body", "Question", "Equation"))
        question = f"{body}{' ' if body.endswith(('.', ',', '!', '?', ';', ':')) else ', '}{asked}"
        operations = sum(token in OPERATORS for token in equation.split())
        examples.append(Example(name, name, ask(question), None, _value(place, row), float(operations)))
    return free_task("svamp", examples, SVAMP_SOURCE, "operations of the equation", verifier="number")


def _text(place: str, row: dict[str, Any], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{place}: {key!r} must be a text, got {value!r:.80}; get the file anew")
    return value.strip()


def _value(place: str, row: dict[str, Any]) -> str:
    value = row.get("Answer")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"{place}: 'Answer' must be a finite number, got {value!r:.80}; get the file anew")
    number = final_number(f"{Decimal(repr(value)):f}")
    assert number is not None
    return number
