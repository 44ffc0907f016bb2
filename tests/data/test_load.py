"""Rows from files: what is read, and what is refused with its place and mend."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from ensemw2s import reading
from ensemw2s.data.readers import json_rows
from ensemw2s.data.readers.load import read_rows
from ensemw2s.data.readers.stream import stream_rows
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
        ("q.jsonl", b'{"a": 1}\n[1]\n', "q.jsonl line 2:", "got list", "mend the row"),
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


ROWS = [{"q": f"Is {i}\nabove; 40, or | so?", "a": "yes" if i > 40 else "no"} for i in (7, 41, 99)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
ARRAY = json.dumps(ROWS, indent=1)
COMMAS = "q,a\n" + "".join(f'"{row["q"]}",{row["a"]}\n' for row in ROWS)


def separated(separator: str) -> str:
    return f"q{separator}a\n" + "".join(f'"{row["q"]}"{separator}{row["a"]}\n' for row in ROWS)


def packed(text: str) -> bytes:
    return gzip.compress(text.encode(), mtime=0)  # the names of the tests hold it


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("a.jsonl", LINES.encode(), " line 2"),
        ("a.json", LINES.encode(), " line 2"),
        ("a.JSON", ARRAY.encode(), " item 2"),
        ("array.jsonl", json.dumps(ROWS).encode(), " item 2"),
        ("marked.json", b"\xef\xbb\xbf" + ARRAY.encode(), " item 2"),
        ("a.json.gz", packed(ARRAY), " item 2"),
        ("a.jsonl.gz", packed(LINES), " line 2"),
        ("a.csv.gz", packed(COMMAS), " line 4"),
        ("a.tsv", separated("\t").encode(), " line 4"),
        ("a.tsv.gz", packed(separated("\t")), " line 4"),
        (
            "excel.csv",
            b"\xef\xbb\xbf" + separated(";").replace("\n", "\r\n").replace("\r\nabove", "\nabove").encode(),
            None,
        ),
        ("tabs.csv", separated("\t").encode(), " line 4"),
        ("bars.csv", separated("|").encode(), " line 4"),
        ("said.csv", ("sep=;\n" + separated(";")).encode(), " line 5"),
        ("mac.jsonl", LINES.replace("\n", "\r").encode(), " line 2"),
    ],
)
def test_a_file_of_every_format_gives_the_same_rows_whole_and_streamed(
    write: Write, name: str, content: bytes, place: str | None
):
    path = write(name, content)
    rows = read_rows(path)
    assert [row for _, row in rows] == ROWS
    assert place is None or rows[1][0] == f"{path}{place}"
    assert [row.columns for row in stream_rows(Path(path), ["q", "a"])] == ROWS


def test_lines_that_end_in_cr_alone_are_lines(write: Write):
    path = write("mac.csv", b"q,a\rone,yes\rtwo,no\r")
    assert read_rows(path) == [
        (f"{path} line 2", {"q": "one", "a": "yes"}),
        (f"{path} line 3", {"q": "two", "a": "no"}),
    ]


def test_a_single_column_may_hold_what_elsewhere_is_a_separator(write: Write):
    assert read_rows(write("q.csv", b"q\nwhat; and why?\n"))[0][1] == {"q": "what; and why?"}
    assert read_rows(write("p.csv", b"a,b;c\n1,2;3\n"))[0][1] == {"a": "1", "b;c": "2;3"}


def test_a_cell_far_above_the_usual_limit_is_read(write: Write):
    long = "word " * 27_000
    assert read_rows(write("q.csv", f"q,a\n{long},yes\n".encode()))[0][1] == {"q": long, "a": "yes"}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("q.csv", "q,a\n1,2\n".encode("utf-16"), ["UTF-16", "save it as UTF-8"]),
        ("q.csv", "q,a\n1,2\n".encode("utf-16-le"), ["UTF-16", "save it as UTF-8"]),
        ("q.csv", b"q,a\nx\0,y\n", ["line 2", "NUL byte"]),
        ("q.csv", b"PK\x03\x04...", ["Excel workbook"]),
        ("q.jsonl", packed(LINES), ["a gzip file", ".gz"]),
        ("q.jsonl.gz", LINES.encode(), ["not a whole gzip file"]),
        ("q.jsonl.gz", packed(LINES * 99)[:-20], ["not a whole gzip file"]),
        ("q.csv", b"version https://git-lfs.github.com/spec/v1\n", ["Git LFS", "git lfs pull"]),
        ("q.csv", b"a;b|c;d\n", ["a semicolon or a bar", "save it with commas"]),
        ("q.csv", b"a;b\tc\n1;2\t3\n", ["a semicolon or a tab", "save it with commas"]),
        ("q.csv", b"a;b\n1;2\n1;2;3\n", ["line 3", "3 values for 2 columns", "a semicolon"]),
        ("q.json", ARRAY.encode()[:-40], ["not valid JSON", "the file is cut"]),
        ("q.json", b'[{"a": 1},\n {"a" 2}]', ["line 2", "column 7", "Expecting ':'"]),
        ("q.json", b'[{"a": 1},]', ["a comma before the end of the array"]),
        ("q.json", b'[{"a": 1}] x', ["something stands after"]),
        ("q.json", b'[{"a": 1}, 2]', ["item 2", "expected an object", "got int"]),
        ("q.json", b'[{"a": "\xff"}]', ["item 1", "not UTF-8"]),
        ("q.json", b"[]", ["no rows"]),
        ("q.json", json.dumps(ROWS[0], indent=1).encode(), ["line 1", "must end on its line", "array"]),
    ],
)
def test_the_message_names_what_is_really_wrong_with_a_file(write: Write, name: str, content: bytes, words: list[str]):
    path = write(name, content)
    with pytest.raises(DataError) as caught:
        read_rows(path)
    assert all(word in str(caught.value) for word in [path, *words]), caught.value


def test_parquet_keeps_nested_values_and_what_is_missing(tmp_path: Path):
    columns = {"q": ["a", None], "l": [["x", "y"], []], "s": [{"text": ["u"], "n": 1}, None]}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "q.parquet")
    rows = [row for _, row in read_rows(str(tmp_path / "q.parquet"))]
    assert rows == [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def test_a_bad_row_of_an_array_costs_no_other(write: Write):
    path = write("q.json", b'[{"q": "a"}, 7, {"q": "b"}]')
    assert [(row.place, bool(row.problem)) for row in stream_rows(Path(path), ["q"], shown="q.json")] == [
        ("q.json item 1", False),
        ("q.json item 2", True),
        ("q.json item 3", False),
    ]


def test_an_array_is_read_in_pieces_whatever_they_cut(write: Write, monkeypatch: pytest.MonkeyPatch):
    rows = [{"q": "é" * n, "n": [n, {"m": None}], "t": n % 2 == 0, "f": -1.5e-7 * n} for n in range(40)]
    path = write("q.json", json.dumps(rows, ensure_ascii=False, indent=1).encode())
    for size in (1, 2, 7, 64):
        monkeypatch.setattr(json_rows, "CHUNK", size)
        assert [row.columns for row in stream_rows(Path(path), [])] == rows
