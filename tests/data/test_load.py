"""Rows from files: what is read, and what is refused with its place and mend."""

from collections.abc import Callable
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from ensemw2s import reading
from ensemw2s.data.load import read_rows
from ensemw2s.errors import DataError

Write = Callable[[str, bytes], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to(name: str, content: bytes) -> str:
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    return to


def test_a_jsonl_row_carries_the_editors_line_number_past_blank_lines(write: Write):
    path = write("q.jsonl", b'{"a": 1}\n\n  \n{"a": "\xe2\x80\xa8"}\r\n')
    assert read_rows(path) == [(f"{path} line 1", {"a": 1}), (f"{path} line 4", {"a": "\u2028"})]


def test_a_byte_order_mark_is_no_part_of_the_data(write: Write):
    assert read_rows(write("q.jsonl", b'\xef\xbb\xbf{"a": 1}'))[0][1] == {"a": 1}
    assert read_rows(write("q.csv", b"\xef\xbb\xbfa\n1\n"))[0][1] == {"a": "1"}


def test_csv_values_stay_text_and_a_row_is_named_by_its_first_line(write: Write):
    path = write("q.csv", b'name,code\n"two\nlines",007\n\nNA,"a, b"\n')
    assert read_rows(path) == [
        (f"{path} line 2", {"name": "two\nlines", "code": "007"}),
        (f"{path} line 5", {"name": "NA", "code": "a, b"}),
    ]


def test_parquet_and_a_datasets_folder_give_the_same_rows(tmp_path: Path):
    columns = {"q": ["x", "y"], "n": [1, 2]}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "q.parquet")
    datasets.Dataset.from_dict(columns).save_to_disk(str(tmp_path / "saved"))
    expected = [{"q": "x", "n": 1}, {"q": "y", "n": 2}]
    for path in (tmp_path / "q.parquet", tmp_path / "saved"):
        assert read_rows(str(path)) == [(f"{path} row {i + 1}", row) for i, row in enumerate(expected)]


def test_the_split_of_a_datasets_folder_is_chosen_and_an_unknown_one_refused(tmp_path: Path):
    parts = {name: datasets.Dataset.from_dict({"q": [name]}) for name in ("train", "test")}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "saved"))
    assert read_rows(str(tmp_path / "saved"), split="test")[0][1] == {"q": "test"}
    with pytest.raises(DataError, match=r"saved: it has no split 'dev', only 'train', 'test'; name one \(task\.split"):
        read_rows(str(tmp_path / "saved"), split="dev")


@pytest.mark.parametrize(
    ("name", "content", "place", "complaint", "mend"),
    [
        (
            "q.jsonl",
            b'{"a": 1}\n{"a": 2,}\n',
            "q.jsonl line 2:",
            "not valid JSON at column 9",
            "mend or delete the line",
        ),
        ("q.jsonl", b'{"a": 1}\n[1]\n', "q.jsonl line 2:", "got list", "mend the line"),
        ("q.jsonl", b'{"a": 1}\n\n{"a": "\xff"}\n', "q.jsonl line 3:", "not UTF-8 (byte 8)", "save the file as UTF-8"),
        ("q.jsonl", b'{"a": ' + b"9" * 5000 + b"}", "q.jsonl line 1:", "cannot be read", "mend or delete the line"),
        ("q.jsonl", b'{"a": ' + b"[" * 100_000, "q.jsonl line 1:", "cannot be read", "mend or delete the line"),
        ("q.jsonl", b"[" * 100_000, "q.jsonl item 1:", "cannot be read", "mend it"),
        ("q.jsonl", b"", "q.jsonl:", "no rows", "give at least one example"),
        ("q.jsonl", b"\n \n", "q.jsonl:", "no rows", "give at least one example"),
        ("q.csv", b"", "q.csv:", "no rows", "give at least one example"),
        ("q.csv", b"a,b\n", "q.csv:", "no rows", "give at least one example"),
        ("q.csv", b"a,b\n1,2\n\n3,4,5\n", "q.csv line 4:", "3 values for 2 columns", "put quotes around"),
        ("q.csv", b"a,b\n1\n", "q.csv line 2:", "1 values for 2 columns", "fill in what is missing"),
        ("q.csv", b"a,b,a\n1,2,3\n", "q.csv:1:", "two columns are named 'a'", "rename one"),
        ("q.csv", b'a,b\n1,2\n3,"4\n', "q.csv line 3:", "not valid CSV", "mend that line"),
        ("q.csv", b"a\n1\n\xff\n", "q.csv line 3:", "not UTF-8", "save the file as UTF-8"),
        ("q.parquet", b"PAR1 and then nothing", "q.parquet:", "not a whole Parquet file", "write it again"),
        ("q.txt", b"hello", "q.txt:", "'.txt'", "use one of .jsonl, .json, .csv, .tsv"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_place_and_mend(
    write: Write, name: str, content: bytes, place: str, complaint: str, mend: str
):
    with pytest.raises(DataError) as caught:
        read_rows(write(name, content))
    message = str(caught.value)
    assert all(part in message for part in (place, complaint, mend)), message
    assert "\n" not in message


def test_a_truncated_parquet_file_is_refused(tmp_path: Path):
    path = tmp_path / "q.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"q": list(range(1000))}), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"q\.parquet: not a whole Parquet file .*; write it again"):
        read_rows(str(path))


def test_a_missing_file_and_a_folder_of_something_else_are_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"gone\.jsonl: there is no such file or folder; check the path \(task\.path"):
        read_rows(str(tmp_path / "gone.jsonl"))
    with pytest.raises(DataError, match=r"not one that datasets\.save_to_disk wrote .*; name a file or such a folder"):
        read_rows(str(tmp_path))


@pytest.mark.parametrize("files", [("state.json", "dataset_info.json"), ("dataset_dict.json",)], ids=["one", "several"])
@pytest.mark.parametrize("content", ["{}", "{", "[]"])
def test_a_datasets_folder_whose_own_records_are_damaged_is_refused(tmp_path: Path, files: tuple[str], content: str):
    for name in files:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=r"not one that datasets\.save_to_disk wrote .*; name a file or such a folder"):
        read_rows(str(tmp_path))


def test_a_file_that_the_system_refuses_is_a_data_error(write: Write, monkeypatch: pytest.MonkeyPatch):
    path = write("q.jsonl", b"{}")

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(reading.os, "open", refuse)
    with pytest.raises(DataError, match=r"q\.jsonl: the file cannot be read \(Permission denied\); .* permissions"):
        read_rows(path)


@pytest.mark.parametrize(
    "error",
    [ConnectionError("Couldn't reach it"), datasets.exceptions.DatasetGenerationError("broken file")],
    ids=["no network", "a broken file on the hub"],
)
def test_a_failing_hub_says_what_to_do_offline(error: Exception, monkeypatch: pytest.MonkeyPatch):
    def load_dataset(name: str, *, split: str) -> None:
        assert (name, split) == ("owner/name", "train")
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DataError, match=r"hub:owner/name: cannot be loaded .*save_to_disk and give that folder"):
        read_rows("hub:owner/name")


def test_a_hub_name_gives_the_rows_of_the_split_that_the_library_is_asked_for(monkeypatch: pytest.MonkeyPatch):
    asked = []

    def load_dataset(name: str, *, split: str) -> datasets.Dataset:
        asked.append((name, split))
        return datasets.Dataset.from_dict({"q": ["x"]})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert read_rows("hub:owner/name", split="train[:1]+test") == [("hub:owner/name row 1", {"q": "x"})]
    assert asked == [("owner/name", "train[:1]+test")]
