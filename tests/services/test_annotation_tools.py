"""The queue in the formats of annotation tools, read by their own packages, and what they export taken back."""

import csv
import json
from unittest.mock import MagicMock

import pytest

from ensemw2s.data.people import people_rows
from ensemw2s.services.annotation import tools
from ensemw2s.services.annotation.tools import argilla, label_studio

CLASSES = [
    {
        "id": f"q{i}",
        "prompt": f"Is {i} <even>?",
        "ensemble": "yes",
        "confidence": 0.5 + i / 100,
        "agreement": 1.0,
        "members": ["yes", "no"],
        "checker": "no",
        "route": "person",
        "allowed": ["yes", 'no & "never"'],
        "answer": "",
    }
    for i in range(3)
]
WORDS = [row | {"allowed": [], "ensemble": "It is."} for row in CLASSES]
EXPLAINED = [row | {"reason": 'It is "even" & so.', "checker_reason": ""} for row in CLASSES]
ROWS = {"classes": CLASSES, "words": WORDS, "explained": EXPLAINED}


@pytest.fixture(params=ROWS)
def rows(request):
    return ROWS[request.param]


def given(file) -> list[tuple[object, object]]:
    return [(row.columns["id"], row.columns["answer"]) for row in people_rows(file)]


def annotated(task, *answers, cancelled=False):
    """A task as Label Studio exports it, one annotation for each answer."""
    result = task["predictions"][0]["result"][0]
    ((key, _),) = result["value"].items()
    made = [{"was_cancelled": cancelled, "result": [result | {"value": {key: [answer]}}]} for answer in answers]
    return {"id": 17, "data": task["data"], "annotations": made, "predictions": []}


def test_label_studios_answers_come_back_whoever_gave_them(rows, tmp_path):
    tasks = json.loads(label_studio(rows, "boosting")[".json"])
    file = tmp_path / "export.json"
    exported = [annotated(tasks[0], "no"), annotated(tasks[1], "a", "b"), annotated(tasks[2], "no", cancelled=True)]
    file.write_text(json.dumps([*exported, annotated(tasks[2])]))
    assert given(file) == [("q0", "no"), ("q1", "a"), ("q1", "b"), ("q2", ""), ("q2", "")]


def test_label_studios_flat_exports_number_their_tasks_under_id(tmp_path):
    flat = [{"id": 5 + i, "item": f"q{i}", "prompt": "?", "annotator": 1, "annotation_id": i} for i in range(3)]
    flat[0]["answer"], flat[1]["answer"] = "yes", {"choices": ["no"]}
    (tmp_path / "min.json").write_text(json.dumps(flat))
    assert given(tmp_path / "min.json") == [("q0", "yes"), ("q1", "no"), ("q2", "")]
    with (tmp_path / "export.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["item", "id", "answer", "annotation_id"])
        writer.writeheader()
        writer.writerow({"item": "q0", "id": 5, "answer": "yes", "annotation_id": 1})
    assert given(tmp_path / "export.csv") == [("q0", "yes")]


def test_argillas_records_come_back(rows, tmp_path):
    records = json.loads(argilla(rows, "boosting")["records.json"])
    records[0]["responses"] = {"answer": [{"value": "no", "user_id": "a"}, {"value": "yes", "user_id": "b"}]}
    records[1]["responses"] = {"answer": []}
    file = tmp_path / "records.json"
    file.write_text(json.dumps(records))
    assert given(file) == [("q0", "no"), ("q0", "yes"), ("q1", ""), ("q2", "")]


def test_reasons_are_shown_beside_the_prompt(rows):
    files = label_studio(rows, "boosting")
    (task, *_), record = json.loads(files[".json"]), json.loads(argilla(rows, "boosting")["records.json"])[0]
    reasons = {name: value for name, value in rows[0].items() if name.endswith("reason")}
    for shown in (task["data"], record["fields"]):
        assert {name: value for name, value in shown.items() if name.endswith("reason")} == reasons
    assert all((f'value="${name}"' in files[".xml"].decode()) == (name in reasons) for name in tools.REASONS)


@pytest.mark.integration
def test_label_studio_itself_takes_the_tasks(rows):
    interfaces = pytest.importorskip("label_studio_sdk.label_interface")
    files = label_studio(rows, "boosting")
    interface = interfaces.LabelInterface(files[".xml"].decode())
    interface.validate()
    for task, row in zip(json.loads(files[".json"]), rows, strict=True):
        assert interface.validate_prediction(task["predictions"][0])
        assert task["data"]["item"] == row["id"]
    if rows is not WORDS:
        assert list(interface.get_control("answer").labels) == ["yes", 'no & "never"']


@pytest.mark.integration
def test_argilla_itself_takes_the_dataset(rows, tmp_path, monkeypatch):
    rg = pytest.importorskip("argilla")
    monkeypatch.setattr(rg.Argilla, "_get_default", MagicMock)  # no server
    from argilla._models import DatasetModel

    files = argilla(rows, "boosting")
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    settings = rg.Settings.from_json(str(tmp_path / ".argilla" / "settings.json"))
    assert [field.name for field in settings.fields] == ["prompt", *(name for name in tools.REASONS if name in rows[0])]
    (question,) = settings.questions
    assert question.name == "answer"
    if rows is not WORDS:
        assert list(question.labels) == ["yes", 'no & "never"']
    assert DatasetModel(**json.loads(files[".argilla/dataset.json"])).name == "ensemw2s-queue"
    for record, row in zip(json.loads(files["records.json"]), rows, strict=True):
        made = rg.Record.from_dict(record)
        assert made.id == row["id"]
        assert made.suggestions["answer"].value == row["ensemble"]
        made.responses.add(rg.Response("answer", "no", user_id="3fa85f64-5717-4562-b3fc-2c963f66afa6"))
        (tmp_path / "back.json").write_text(json.dumps([made.to_dict()]))
        assert given(tmp_path / "back.json") == [(row["id"], "no")]
