"""gsm8k: grade-school word problems, answered by a number or by the whole worked solution.

Difficulty is the number of steps of the published solution.
"""

import re
from pathlib import Path
from typing import Any, Literal

from ensemw2s.config.base import Text
from ensemw2s.config.task import TaskSettings
from ensemw2s.data.answers import ask, final_number, free_task
from ensemw2s.data.readers.load import read_rows, text_in
from ensemw2s.data.stand_in import N, json_lines
from ensemw2s.errors import DataError
from ensemw2s.examples import Example, Task

SOURCE = "GSM8K (Grade School Math 8K, OpenAI, 2021), MIT"
PARTS = ("train", "test")


class Gsm8k(TaskSettings):
    name: Literal["gsm8k"] = "gsm8k"
    path: Text
    """The folder of train.jsonl and test.jsonl."""
    worked: bool = False
    """The answer is the whole worked solution, which ends with its number, and not the number alone."""

    is_free = True

    @property
    def needs_decoding(self) -> bool:  # another solution with the same number is right, too
        return self.worked

    def load(self) -> Task:
        """The problems of both files; harder where the solution has more calculator marks.

        Solutions without any mark are left out: it was not recorded how many steps they take. With `worked`, the
        answer is the solution without the marks, and ends with #### and the number.

        Raises:
            DataError: the folder or a file is missing, or a problem is malformed.
        """
        folder = Path(self.path)
        if not folder.is_dir():
            raise DataError(
                f"{self.path}: there is no such folder; set task.path to the folder of train.jsonl and test.jsonl"
            )
        examples = []
        for part in PARTS:
            for number, (place, row) in enumerate(read_rows(str(folder / f"{part}.jsonl")), start=1):
                question, solution = text_in(place, row, "question"), text_in(place, row, "answer")
                steps, mark, final = solution.rpartition("####")
                value = final_number(final)
                if not mark or value is None:
                    raise DataError(
                        f"{place}: the answer must end with a line like '#### 7', got {solution[-40:]!r}; get the file "
                        "anew"
                    )
                difficulty = steps.count("<<")
                if not difficulty:
                    continue
                without_marks = re.sub(r"<<[^>]*>>", "", steps).strip()
                answer = f"{without_marks}\n#### {value}" if self.worked else value
                name = f"gsm8k-{part}-{number}"
                examples.append(Example(name, name, ask(question), None, answer, float(difficulty)))
        return free_task("gsm8k", examples, SOURCE, "steps of the solution (calculator marks)", verifier="number")

    def stand_in(self) -> dict[str, str]:
        return {f"{part}.jsonl": json_lines(map(_problem, range(p, N, 2))) for p, part in enumerate(PARTS)}


def _problem(i: int) -> dict[str, Any]:
    n_steps = 1 + i % 4
    steps = "".join(f"{i} balls and {n} make <<{i}+{n}={i + n}>>{i + n}.\n" for n in range(1, n_steps + 1))
    question = f"There are {i} balls. How many are there with {n_steps} more?"
    return {"question": question, "answer": f"{steps}#### {i + n_steps}"}
