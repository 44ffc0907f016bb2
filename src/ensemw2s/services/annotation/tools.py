"""The queue in the formats of annotation tools, with the ensemble's answers as predictions.

Formats: label_studio_sdk 2 (tasks with predictions, and the labelling interface beside them), argilla 2 (a dataset's
folder, as `Dataset.to_disk` writes it). `data/annotated.py` reads what people answered there.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

from ensemw2s.data.annotated import ITEM, QUESTION, TEXT

Row = Mapping[str, Any]
"""A row of the queue (`queue.write_queue`)."""
Files = dict[str, bytes]
"""Content by name: the suffix of a file, or the path of a file in a folder."""
SHOWN = ("ensemble", "confidence", "agreement", "checker", "route")
"""What of a row an annotator may sort and filter by."""
REASON, CHECKER_REASON = "reason", "checker_reason"
"""Columns of `reasons.with_reasons`, where a model wrote some."""
REASONS = {
    REASON: "A model's reason for the ensemble's answer, right or wrong",
    CHECKER_REASON: "A model's reason for the checker's answer, where it is another",
}


def label_studio(rows: Sequence[Row], method: str) -> Files:
    """Tasks to import, and the labelling interface to paste into the project's settings."""
    choices = _choices(rows)
    reasons = _reasons(rows)
    kind, key = ("choices", "choices") if choices else ("textarea", "text")
    tasks = [
        {
            "data": {ITEM: row["id"], TEXT: row["prompt"], **{name: row[name] for name in (*SHOWN, *reasons)}},
            "predictions": [
                {
                    "model_version": method,
                    "score": row["confidence"],
                    "result": [
                        {
                            "id": "answer",
                            "from_name": QUESTION,
                            "to_name": TEXT,
                            "type": kind,
                            "value": {key: [row["ensemble"]]},
                        }
                    ],
                }
            ],
        }
        for row in rows
    ]
    options = "".join(f"\n    <Choice value={quoteattr(choice)}/>" for choice in choices)
    control = (
        f'<Choices name="{QUESTION}" toName="{TEXT}" choice="single" required="true">{options}\n  </Choices>'
        if choices
        else f'<TextArea name="{QUESTION}" toName="{TEXT}" maxSubmissions="1" editable="true" required="true"/>'
    )
    shown = "".join(
        f'\n  <Header value={quoteattr(title)}/>\n  <Text name="{name}" value="${name}"/>'
        for name, title in reasons.items()
    )
    interface = f'<View>\n  <Text name="{TEXT}" value="${TEXT}"/>{shown}\n  {control}\n</View>\n'
    return {".json": _json(tasks), ".xml": interface.encode()}


def argilla(rows: Sequence[Row], method: str) -> Files:
    """A dataset's folder, for `argilla.Dataset.from_disk`."""
    choices = _choices(rows)
    options = [{"value": choice, "text": choice} for choice in choices]
    asked = {"type": "label_selection", "options": options} if choices else {"type": "text", "use_markdown": False}
    reasons = _reasons(rows)
    fields = [(TEXT, "Prompt", True), *((name, title, False) for name, title in reasons.items())]
    settings = {
        "guidelines": "Answer each item; the suggestion is the ensemble's.",
        "allow_extra_metadata": True,
        "fields": [
            {"name": name, "title": title, "required": required, "settings": {"type": "text"}}
            for name, title, required in fields
        ],
        "questions": [{"name": QUESTION, "title": "Answer", "required": True, "settings": asked}],
        "vectors": [],
        "metadata": [],
    }
    records = [
        {
            "id": row["id"],
            "fields": {TEXT: row["prompt"], **{name: row[name] for name in reasons}},
            "metadata": {name: row[name] for name in SHOWN},
            "suggestions": {QUESTION: {"value": row["ensemble"], "score": row["confidence"], "agent": method}},
            "responses": {},
            "vectors": {},
            "status": "pending",
            "_server_id": None,
        }
        for row in rows
    ]
    about = {"name": "ensemw2s-queue", "status": "draft"}
    return {
        ".argilla/dataset.json": _json(about),
        ".argilla/settings.json": _json(settings),
        "records.json": _json(records),
    }


def _reasons(rows: Sequence[Row]) -> dict[str, str]:
    """Columns of reasons that the rows have, with their titles."""
    return {name: title for name, title in REASONS.items() if rows and name in rows[0]}


def _choices(rows: Sequence[Row]) -> list[str]:
    """The classes that an annotator chooses among; none where answers are free, or each question has its own."""
    allowed = [row["allowed"] for row in rows]
    return list(allowed[0]) if allowed and all(each == allowed[0] for each in allowed) else []


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode(errors="backslashreplace")


TOOLS: dict[str, Callable[[Sequence[Row], str], Files]] = {"label-studio": label_studio, "argilla": argilla}
