"""One table of answers, whoever answers and in whatever format."""

import csv
import datetime
import decimal
import json

import pyarrow.parquet
import pytest

from ensemw2s.data import answer_table
from ensemw2s.data.answer_table import answer_row, check_columns, check_table, inputs_among, write_table
from ensemw2s.errors import ConfigError, DataError

SAID = {"answer": "yes", "confidence": 0.75, "members": ["yes", "no"], "agreement": 0.5, "probability": {"yes": 0.75}}


def test_a_row_keeps_the_inputs_columns_and_renames_what_would_hide_an_answer():
    columns = {"id": "q7", "text": "t", "answer": "true one", "probability": 3}
    assert answer_row("row-1", columns, SAID) == {
        "id": "row-1",
        "input_id": "q7",
        "text": "t",
        "input_answer": "true one",
        "input_probability": 3,
        "answer": "yes",
        "confidence": 0.75,
        "members": ["yes", "no"],
        "agreement": 0.5,
    }
    assert "input_id" not in answer_row("q7", columns, SAID, id_column="id")


def test_columns_are_given_in_the_order_asked_for_and_absent_ones_are_empty():
    wanted = ["answer", "input_answer", "probability", "error", "tokens"]
    row = answer_row("row-1", {"answer": "true one", "text": "t"}, SAID, wanted=wanted)
    assert list(row.items()) == [
        ("answer", "yes"),
        ("input_answer", "true one"),
        ("probability", {"yes": 0.75}),
        ("error", None),
        ("tokens", None),
    ]
    assert inputs_among([*wanted, "text", "input_kind"]) == ["answer", "text", "input_kind"]


def test_a_column_that_no_row_has_is_refused_with_the_nearest():
    check_columns(["id", "probability", "b"], [{"a": 1}, {"b": 2}], "in.jsonl")
    with pytest.raises(DataError, match=r"in\.jsonl: there is no column 'probabilty' .*did you mean 'probability'"):
        check_columns(["probabilty"], [{"a": 1}], "in.jsonl")


ROWS = [
    {"id": "1", "n": 1, "odd": "text", "when": answer_table.plain(datetime.date(2024, 5, 1)), "members": ["a"]},
    {"id": "2", "n": 2.5, "odd": {"deep": [1, None]}, "late": True, "members": None},
    {"id": "3", "n": None, "odd": 2**80, "members": ["line\nbreak", 'quo"te,']},
]


@pytest.fixture(params=[1, 4096])
def chunk(request, monkeypatch):
    monkeypatch.setattr(answer_table, "ROWS", request.param)


def test_every_format_holds_every_row(tmp_path, chunk):
    for suffix in answer_table.FORMATS:
        write_table(tmp_path / f"t{suffix}", lambda: iter(ROWS))
    columns = ["id", "n", "odd", "when", "members", "late"]
    assert [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()] == ROWS
    with (tmp_path / "t.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert list(read[0]) == columns
    assert [row["n"] for row in read] == ["1", "2.5", ""]
    assert [row["odd"] for row in read] == ["text", '{"deep": [1, null]}', str(2**80)]
    assert [row["members"] for row in read] == ['["a"]', "", json.dumps(ROWS[2]["members"])]
    table = pyarrow.parquet.read_table(tmp_path / "t.parquet")
    assert table.column_names == columns
    assert table["n"].to_pylist() == [1.0, 2.5, None]
    assert table["odd"].to_pylist() == ["text", '{"deep": [1, null]}', str(2**80)]
    assert table["members"].to_pylist() == [row["members"] for row in ROWS]
    assert table["late"].to_pylist() == [None, True, None]


def test_values_that_json_lacks_become_text_or_nothing():
    made = answer_table.plain(
        {"a": float("nan"), "b": [decimal.Decimal("1.5"), (1, b"x")], 3: datetime.date(2024, 5, 1)}
    )
    assert made == {"a": None, "b": ["1.5", [1, "b'x'"]], "3": "2024-05-01"}


def test_text_of_no_unicode_is_escaped_in_every_format(tmp_path):
    for suffix in answer_table.FORMATS:
        write_table(tmp_path / f"t{suffix}", lambda: [{"text": "half \ud83d"}])
        assert b"half \\ud83d" in (tmp_path / f"t{suffix}").read_bytes()


def test_a_table_that_fails_midway_leaves_the_earlier_one(tmp_path):
    path = tmp_path / "t.csv"
    write_table(path, lambda: ROWS)
    before = path.read_bytes()

    def torn():
        yield ROWS[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_table(path, torn)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_tells_no_format_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"answers\.xlsx: cannot tell the format.*\.csv, \.jsonl, \.parquet"):
        check_table(tmp_path / "answers.xlsx")
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(ConfigError, match="a folder stands"):
        check_table(tmp_path / "a.csv")
