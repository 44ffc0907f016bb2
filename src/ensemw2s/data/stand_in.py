"""What the stand-ins of tasks share: generated questions in the form of a task's own files, for `--tiny`.

The task's loader reads them as ever, and no data set is needed. There is something to learn in them, so that no
experiment stops because its first expert is no better than chance.
"""

import json
from collections.abc import Iterable
from typing import Any

N = 200
"""Questions of a file: enough that a side of a fifth of them fills its parts."""
COLOURS = ("red", "green", "blue", "grey")


def json_lines(rows: Iterable[Any]) -> str:
    """The content of a .jsonl file."""
    return "".join(json.dumps(row) + "\n" for row in rows)
