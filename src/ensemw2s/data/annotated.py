"""Exports of annotation tools as rows of id and answer: Label Studio's (JSON, JSON-MIN, CSV) and Argilla's records.

Each annotator's answer is a row of its own; who skipped an item gives none. The question is named `answer` and Label
Studio's item `item`, as `services/annotation/tools.py` writes them: Label Studio numbers its tasks under `id`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

QUESTION, ITEM, TEXT = "answer", "item", "prompt"
"""Names of the question, of the item's id, and of the prompt, in the files for annotation tools."""


def answers_of(columns: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The row itself, or of a tool's export a row for each annotator's answer."""
    if isinstance(columns.get("annotations"), list) and isinstance(columns.get("data"), Mapping):
        yield from _label_studio(columns)
    elif "annotation_id" in columns and ITEM in columns:  # JSON-MIN and CSV
        yield {"id": columns[ITEM], "answer": _flat(columns.get(QUESTION))}
    elif isinstance(columns.get("responses"), Mapping) and isinstance(columns.get("fields"), Mapping):
        given = columns["responses"].get(QUESTION) or [{"value": ""}]
        yield from ({"id": columns.get("id"), "answer": each["value"]} for each in given)
    else:
        yield columns


def _label_studio(task: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    name = task["data"].get(ITEM)
    given = [each for each in task["annotations"] if not each.get("was_cancelled")]
    values = [
        _flat(result.get("value")) for each in given for result in each["result"] if result.get("from_name") == QUESTION
    ]
    yield from ({"id": name, "answer": value} for value in values or [""])


def _flat(value: Any) -> Any:
    """The text of an answer: `{"choices": [x]}`, `{"text": [x]}`, `[x]` or x; empty where there is none."""
    if isinstance(value, Mapping):
        value = value.get("choices", value.get("text", ""))
    if isinstance(value, list):
        return value[0] if len(value) == 1 else "" if not value else None
    return "" if value is None else value
