"""Labels of a file of any length: every row once, whatever happens; refusals by name; memory that does not grow."""

import csv
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from rich.console import Console

from ensemw2s.cli import main
from ensemw2s.config import DecodingConfig, ModelConfig
from ensemw2s.data.readers import source
from ensemw2s.data.readers.load import read_rows
from ensemw2s.errors import DataError, RunError
from ensemw2s.export.ensembles.ensemble_record import AnswerEnsemble
from ensemw2s.export.ensembles.prompt_reader import unreadable
from ensemw2s.services.labelling import folder as label_folder
from ensemw2s.services.labelling import label_file as labelling
from ensemw2s.services.labelling.folder import MANIFEST
from ensemw2s.services.labelling.label_file import LabelCounts, label_file
from ensemw2s.services.labelling.ledger import LEDGER
from ensemw2s.services.labelling.table import shards_of, write_labels
from ensemw2s.storage.locks import run_lock

DOCS = Path(__file__).parents[2] / "docs" / "errors.md"
RECORD = AnswerEnsemble(
    method="boosting",
    seed=0,
    expert_ids=("boosting/0",),
    expert_weights=(1.0,),
    prompt="{{ prompt }}",
    weak=ModelConfig(),
    weak_fingerprint="0" * 64,
    config_hash="0" * 64,
    vote="soft",
    decoding=DecodingConfig(max_new_tokens=8),
)


class Fake:
    """Answers by the prompt alone; a token is a word. Notes what it was asked."""

    def __init__(self, *, fingerprint="f" * 8, max_length=12, n_tokens=10**6, delay=0.0, on_label=lambda prompts: None):
        self.fingerprint, self.max_length, self.n_tokens = fingerprint, max_length, n_tokens
        self.delay, self.on_label = delay, on_label
        self.encoded: list[str] = []
        self.labelled: list[str] = []
        self.batch_sizes: list[int] = []

    def sizes(self, prompts):
        self.encoded += prompts
        found = [[len(word) for word in prompt.split() if word != "tokenless"] for prompt in prompts]
        return [(len(ids), unreadable(ids, self.max_length, self.n_tokens)) for ids in found]

    def label(self, prompts):
        self.on_label(prompts)
        time.sleep(self.delay)
        self.labelled += prompts
        self.batch_sizes.append(len(prompts))
        return [{"answer": p[::-1], "confidence": float("nan") if "nan" in p else len(p) / 100} for p in prompts]


def question(i: int) -> str:
    return f"frage № {i} " + "wort " * (i * 7 % 9)


def write(path, rows) -> str:
    """Rows as .jsonl (bytes as they are), .csv or .parquet."""
    if path.suffix == ".jsonl":
        lines = [r if isinstance(r, bytes) else json.dumps(r, ensure_ascii=False).encode() for r in rows]
        path.write_bytes(b"".join(line + b"\n" for line in lines))
    elif path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=7)
    else:
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
        path.write_text(text.getvalue())
    return str(path)


def questions(n: int) -> list[dict[str, str]]:
    return [{"id": f"q{i}", "prompt": question(i)} for i in range(n)]


def lines(folder, kind: str) -> list[dict]:
    return [json.loads(line) for path in sorted(folder.glob(f"{kind}-*")) for line in path.read_bytes().splitlines()]


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def refused(tmp_path, row, *, id_column="id", good_first=True) -> dict:
    """The error line of one bad row between two good ones."""
    rows = [{"id": "first", "prompt": "one"}, row, {"id": "last", "prompt": "two"}]
    source = write(tmp_path / "in.jsonl", rows)
    counts = label_file(Fake(), source, tmp_path / "out", id_column=id_column)
    assert counts == LabelCounts(3, 2, 1, 1)
    assert [line["prompt"] for line in lines(tmp_path / "out", "labels")] == ["one", "two"]
    (error,) = lines(tmp_path / "out", "errors")
    assert (error["row"], error["place"]) == (2, f"{source}:2")
    return error


def test_each_row_has_its_label_in_the_order_of_the_file(tmp_path):
    rows = questions(50)
    fake = Fake()
    source = write(tmp_path / "in.jsonl", rows)
    assert label_file(fake, source, tmp_path / "out", id_column="id", shard_rows=8) == LabelCounts(50, 50, 0, 7)
    found = lines(tmp_path / "out", "labels")
    alone = {"members": None, "agreement": None}
    assert found == [r | {"answer": r["prompt"][::-1], "confidence": len(r["prompt"]) / 100} | alone for r in rows]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        ".lock",
        *(f"labels-{i:05d}.jsonl" for i in range(7)),
        MANIFEST,
    ]
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert manifest["finished"] is True
    assert manifest["counts"] == {"rows": 50, "labelled": 50, "failed": 0, "shards": 7}


def test_without_an_id_column_a_row_is_its_number_and_blank_lines_are_none(tmp_path):
    source = write(tmp_path / "in.jsonl", [{"q": "a b"}, b"", b"  ", {"q": "c"}, b"[1]"])
    label_file(Fake(), source, tmp_path / "out", prompt="Q: {{ q }}")
    assert [(r["id"], r["answer"]) for r in lines(tmp_path / "out", "labels")] == [
        ("row-1", "b a :Q"),
        ("row-2", "c :Q"),
    ]
    assert [(r["id"], r["row"], r["place"]) for r in lines(tmp_path / "out", "errors")] == [(None, 3, f"{source}:5")]


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_the_kind_of_file_changes_nothing(tmp_path, kind):
    rows = [*questions(30), {"id": "q7", "prompt": "again"}, {"id": "x", "prompt": " "}]
    folders = []
    for suffix in (".jsonl", kind):
        folders.append(tmp_path / f"out{suffix}")
        source = write(tmp_path / f"in{suffix}", rows)
        label_file(Fake(), source, folders[-1], id_column="id", shard_rows=4)
    assert lines(folders[0], "labels") == lines(folders[1], "labels")
    first, second = ([(e["id"], e["row"]) for e in lines(folder, "errors")] for folder in folders)
    assert first == second == [("q7", 31), ("x", 32)]
    place = {".csv": "in.csv:9", ".parquet": "in.parquet row 8"}[kind]
    assert f"was used before, at {tmp_path / place}" in lines(folders[1], "errors")[0]["reason"]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_one_file_has_every_row_of_the_input_in_its_order(tmp_path, suffix):
    rows = [*questions(11), b"bad", {"id": "long", "prompt": "w " * 20, "more": 1}]
    random.Random(3).shuffle(rows)
    source, output = write(tmp_path / "in.jsonl", rows), tmp_path / f"out{suffix}"
    counts = label_file(Fake(), source, shards_of(output), id_column="id", shard_rows=4)
    write_labels(output, counts.shards, 4)
    found = [row for _, row in read_rows(str(output))]
    assert [row["id"] or None for row in found] == [None if row == b"bad" else row["id"] for row in rows]
    for row, one in zip(rows, found, strict=True):
        if isinstance(row, bytes) or row["id"] == "long":
            continue
        assert (one["prompt"], one["answer"], one.get("error") or None) == (row["prompt"], row["prompt"][::-1], None)
    (bad,) = [one for one in found if not one["id"]]
    (long,) = [one for one in found if one["id"] == "long"]
    assert "not valid JSON" in bad["error"]
    assert "20 tokens" in long["error"]
    assert str(long["more"]) in ("1", "1.0")


def test_columns_that_are_asked_for_are_the_labels_and_belong_to_the_folder(tmp_path):
    source = write(tmp_path / "in.jsonl", [row | {"kind": "k"} for row in questions(3)])
    label_file(Fake(), source, tmp_path / "out", id_column="id", wanted=["kind", "answer", "filled_prompt"])
    assert lines(tmp_path / "out", "labels") == [
        {"kind": "k", "answer": r["prompt"][::-1], "filled_prompt": r["prompt"]} for r in questions(3)
    ]
    with pytest.raises(RunError, match="use the same --columns"):
        label_file(Fake(), source, tmp_path / "out", id_column="id")
    with pytest.raises(DataError, match=r"no column 'knd'.*did you mean 'kind'"):
        label_file(Fake(), source, tmp_path / "other", wanted=["knd"])


BAD_ROWS = [
    ("line of no JSON", b'{"id": "x", "prompt"', None, ["column 21", "not valid JSON"]),
    ("line of another kind", b'["a"]', None, ["expected an object", "got list"]),
    ("line of no UTF-8", b'{"prompt": "\xff"}', None, ["not UTF-8"]),
    ("line nested too deep", b"[" * 100_000, None, ["cannot be read"]),
    ("line with too many columns", {str(i): 1 for i in range(20_000)}, None, ["20,000 columns"]),
    ("id absent", {"prompt": "no id"}, None, ["no column 'id'"]),
    ("id empty", {"id": " ", "prompt": "a"}, None, ["'id'", "empty"]),
    ("id of a wrong type", {"id": 1.5, "prompt": "a"}, None, ["'id'", "expected text", "1.5"]),
    ("column absent", {"id": "x", "promt": "a"}, "x", ["no column 'prompt'", "did you mean 'promt'"]),
    ("prompt of a wrong type", {"id": "x", "prompt": None}, "x", ["expected text", "None"]),
    (
        "prompt of a wrong type",
        {"id": "x", "prompt": ["a"] * 10_000},
        "x",
        ["expected text", "…", "mend the value"],
    ),
    ("prompt empty", {"id": "x", "prompt": " \n"}, "x", ["prompt is empty"]),
    ("text of no Unicode", b'{"id": "x", "prompt": "\\ud800"}', "x", ["not valid Unicode"]),
    ("prompt over the length", {"id": "x", "prompt": "word " * 13}, "x", ["13 tokens", "at most 12"]),
    ("prompt without a token", {"id": "x", "prompt": "tokenless"}, "x", ["no token"]),
    ("label that is no JSON", {"id": "x", "prompt": "nan"}, "x", ["cannot be written as JSON"]),
    ("id used before", {"id": "first", "prompt": "b"}, "first", ["'first' was used before", "in.jsonl:1"]),
]
OTHER_BAD_ROWS = {
    "line too long",
    "line of no CSV",
    "too many values for the header",
    "value that Parquet cannot give",
    "token outside the embeddings",
}
"""With tests of their own."""


@pytest.mark.parametrize(("kind", "row", "name", "words"), BAD_ROWS)
def test_a_row_that_cannot_be_labelled_is_an_error_with_its_reason_and_the_rest_goes_on(
    tmp_path, kind, row, name, words
):
    error = refused(tmp_path, row)
    assert error["id"] == name
    assert all(word in error["reason"] for word in words), error["reason"]
    assert len(error["reason"]) < 520


def test_an_endless_line_is_an_error_and_never_held_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "ROW_BYTES", 64)
    error = refused(tmp_path, {"id": "x", "prompt": "y" * 1000})
    assert "longer than 64 bytes" in error["reason"]


def test_errors_of_csv_lines_cost_no_other_row(tmp_path):
    good = [f"g{i},text {i}\n".encode() for i in range(5)]
    raw = [b"id,prompt\n", good[0], b"x,\xff\n", good[1], b"a,b,c\n", good[2], b'y,"torn" quote\n', good[3], b'z,"']
    source = tmp_path / "in.csv"
    source.write_bytes(b"".join(raw))
    assert label_file(Fake(), str(source), tmp_path / "out", id_column="id") == LabelCounts(8, 4, 4, 1)
    errors = lines(tmp_path / "out", "errors")
    assert [(e["id"], e["place"].rpartition(":")[2]) for e in errors] == [
        (None, "3"),
        (None, "5"),
        (None, "7"),
        (None, "9"),
    ]
    expected = ["not UTF-8", "3 values for 2", "not valid CSV", "not valid CSV"]
    assert all(words in e["reason"] for words, e in zip(expected, errors, strict=True))


def test_text_of_parquet_that_is_not_utf8_is_an_error_of_its_row(tmp_path):
    raw = pyarrow.array([b"good", b"\xff", b"fine"])
    text = pyarrow.StringArray.from_buffers(3, raw.buffers()[1], raw.buffers()[2])
    pyarrow.parquet.write_table(pyarrow.table({"prompt": text}), tmp_path / "in.parquet")
    counts = label_file(Fake(), str(tmp_path / "in.parquet"), tmp_path / "out")
    assert counts == LabelCounts(3, 2, 1, 1)
    assert "cannot be read" in lines(tmp_path / "out", "errors")[0]["reason"]


REFUSED = [
    ("input missing", "none.jsonl", None, {}, ["no such file", "--input"]),
    ("input is no file", ".", None, {}, ["not a file", "--input"]),
    ("input of an unknown type", "in.txt", b"a", {}, ["cannot tell the format", ".jsonl"]),
    ("input without rows", "in.jsonl", b"\n \n", {}, ["no rows"]),
    ("input without rows", "in.csv", b"id,prompt\n", {}, ["no rows"]),
    ("column twice in the header", "in.csv", b"id,id\n1,2\n", {}, ["two columns"]),
    (
        "column not in the header",
        "in.csv",
        b"id,promt\n1,2\n",
        {},
        ["no column 'prompt'", "did you mean 'promt'"],
    ),
    ("torn gzip input", "in.jsonl.gz", b"{}", {}, ["not a whole gzip file"]),
    ("input of another encoding", "in.csv", "id,prompt\n".encode("utf-16"), {}, ["UTF-16", "UTF-8"]),
    ("torn Parquet input", "in.parquet", b"PAR1", {}, ["not a whole Parquet file"]),
    ("malformed template", "in.jsonl", b"{}\n", {"prompt": "{{ a"}, ["template '{{ a'"]),
    ("malformed template", "in.jsonl", b"{}\n", {"prompt": "no column"}, ["name at least one column"]),
    ("malformed template", "in.jsonl", b"{}\n", {"prompt": "\udcff {{ a }}"}, ["not valid Unicode"]),
    ("count below one", "in.jsonl", b"{}\n", {"shard_rows": 0}, ["--shard-rows is 0"]),
    ("count below one", "in.jsonl", b"{}\n", {"batch_tokens": -1}, ["--batch-tokens is -1"]),
]
OTHERS_REFUSED = {
    "input unreadable",
    "input changed while it was read",
    "output is a file",
    "output begun otherwise",
    "manifest damaged",
    "labels without a manifest",
    "two calls on one output",
    "disk full while labelling",
    # tests/faults/test_damaged_folders.py and test_hostile_folders.py:
    "ensemble with a wrong record",
    "experts that fit no model",
    "code trusted of another model",
    "folder where a shard belongs",
    "file of no shard",
    "shard damaged",
    # tests/e2e/test_words.py:
    "ensemble of another model",
    "ensemble missing",
    "ensemble damaged",
}
"""With tests of their own."""


@pytest.mark.parametrize(("kind", "name", "content", "options", "words"), REFUSED)
def test_what_cannot_work_is_refused_before_any_work(tmp_path, kind, name, content, options, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    fake = Fake()
    with pytest.raises(DataError) as caught:
        label_file(fake, str(tmp_path / name), tmp_path / "out", **options)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert not (tmp_path / "out").exists()
    assert not fake.encoded


def test_an_input_that_may_not_be_read_is_refused_before_any_work(tmp_path, monkeypatch):
    source = write(tmp_path / "in.jsonl", questions(1))
    monkeypatch.setattr(labelling.os, "access", lambda path, mode: False)  # root may read everything
    with pytest.raises(DataError, match="cannot be read; check its permissions"):
        label_file(Fake(), source, tmp_path / "out")


def test_the_tables_in_the_docs_list_every_kind_and_no_other():
    _, text = DOCS.read_text().split("## Labelling a file")
    refused, of_rows = text.split("errors-*.jsonl")
    codes = {kind: int(code) for kind, code in re.findall(r"^\| ([^|]+?) \| (\d) \|", refused, re.M)}
    assert set(codes) == {case[0] for case in REFUSED} | OTHERS_REFUSED
    assert all(codes[case[0]] == DataError.exit_code for case in REFUSED)
    listed = re.findall(r"^\| ([^|]+?) \| [^|]+ \|$", of_rows, re.M)
    assert set(listed[1:]) == {case[0] for case in BAD_ROWS} | OTHER_BAD_ROWS  # the first is the table's head


def test_an_output_that_cannot_be_written_is_refused_before_any_work(tmp_path):
    (tmp_path / "out").write_text("")
    fake = Fake()
    with pytest.raises(RunError, match="a file stands where a folder is needed"):
        label_file(fake, write(tmp_path / "in.jsonl", questions(2)), tmp_path / "out")
    assert not fake.encoded


class Cut(BaseException):
    """Stands for Ctrl-C."""


def interrupted(source, output, *, after: int, **options) -> Fake:
    """A call that is stopped at the first batch after `after` rows were labelled."""

    def stop(prompts):
        if len(fake.labelled) >= after:
            raise Cut

    fake = Fake(on_label=stop)
    with pytest.raises(Cut):
        label_file(fake, source, output, **options)
    return fake


def test_finished_shards_are_neither_labelled_nor_tokenised_again(tmp_path):
    rows = questions(40)
    options = {"id_column": "id", "shard_rows": 10}
    source = write(tmp_path / "in.jsonl", [*rows, rows[3], {"id": "bad"}])
    label_file(Fake(), source, tmp_path / "whole", **options)
    interrupted(source, tmp_path / "out", after=20, **options)
    assert sorted(p.name for p in (tmp_path / "out").glob("labels-*")) == ["labels-00000.jsonl", "labels-00001.jsonl"]
    second = Fake()
    counts = label_file(second, source, tmp_path / "out", **options, batch_tokens=9)
    assert second.encoded == [r["prompt"] for r in rows[20:]]
    assert sorted(second.labelled) == sorted(second.encoded)
    assert counts == LabelCounts(42, 40, 2, 5)
    # Of a duplicate the first stands in a shard that only the first call labelled.
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    third = Fake()
    assert label_file(third, source, tmp_path / "out", **options) == counts
    assert not third.encoded


def test_a_shard_that_was_taken_away_is_made_again(tmp_path):
    source = write(tmp_path / "in.jsonl", questions(9))
    label_file(Fake(), source, tmp_path / "out", shard_rows=3)
    before = contents(tmp_path / "out")
    (tmp_path / "out" / "labels-00001.jsonl").unlink()
    fake = Fake()
    label_file(fake, source, tmp_path / "out", shard_rows=3)
    assert fake.encoded == [question(i) for i in range(3, 6)]
    assert contents(tmp_path / "out") == before


def test_an_input_that_was_moved_or_copied_is_the_same(tmp_path):
    source = write(tmp_path / "in.jsonl", [*questions(9), b"bad"])
    label_file(Fake(), source, tmp_path / "whole", shard_rows=3)
    interrupted(source, tmp_path / "out", after=3, shard_rows=3)
    shutil.move(source, tmp_path / "moved.jsonl")
    label_file(Fake(), str(tmp_path / "moved.jsonl"), tmp_path / "out", shard_rows=3)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("name", "labeller", "options", "words"),
    [
        ("fingerprint", {"fingerprint": "other"}, {}, ["'ffffffff'", "'other'", "use the ensemble"]),
        ("prompt", {}, {"prompt": "{{ prompt }}!"}, ["'{{ prompt }}'", "'{{ prompt }}!'", "--prompt"]),
        ("id_column", {}, {"id_column": "id"}, ["None", "'id'", "--id"]),
        ("shard_rows", {}, {"shard_rows": 4}, ["3", "4", "--shard-rows"]),
        ("sha256", {}, {"edit": True}, ["input sha256", "give the input"]),
        ("bytes", {}, {"append": True}, ["input bytes", "give the input"]),
    ],
)
@pytest.mark.parametrize("finished", [False, True])
def test_a_folder_of_other_settings_is_refused_by_name(tmp_path, name, labeller, options, words, finished):
    source = write(tmp_path / "in.jsonl", questions(9))
    if finished:
        label_file(Fake(), source, tmp_path / "out", shard_rows=3)
    else:
        interrupted(source, tmp_path / "out", after=3, shard_rows=3)
    options = dict(options)
    with open(source, "r+b") as file:
        if options.pop("edit", False):
            file.seek(file.read().index(b"frage"))
            file.write(b"F")
        elif options.pop("append", False):
            file.seek(0, os.SEEK_END)
            file.write(b"{}\n")
    before = contents(tmp_path / "out")
    fake = Fake(**labeller)
    with pytest.raises(RunError) as caught:
        label_file(fake, source, tmp_path / "out", **{"shard_rows": 3, **options})
    assert all(word in str(caught.value) for word in [*words, name, "another --output"]), str(caught.value)
    assert not fake.encoded
    assert contents(tmp_path / "out") == before


def test_an_input_that_changes_meanwhile_is_refused_and_no_shard_of_it_saved(tmp_path):
    source = write(tmp_path / "in.jsonl", questions(9))

    def append(prompts):
        with open(source, "ab") as file:
            file.write(b"{}\n")

    with pytest.raises(DataError, match="changed while it was read"):
        label_file(Fake(on_label=append), source, tmp_path / "out", shard_rows=3)
    assert not list((tmp_path / "out").glob("labels-*"))


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"finished": true, "schema": 1}'])
def test_a_damaged_manifest_and_labels_without_one_are_refused(tmp_path, content):
    source = write(tmp_path / "in.jsonl", questions(3))
    label_file(Fake(), source, tmp_path / "out")
    (tmp_path / "out" / MANIFEST).write_bytes(content)
    with pytest.raises(RunError, match="not the manifest of labels"):
        label_file(Fake(), source, tmp_path / "out")
    (tmp_path / "out" / MANIFEST).unlink()
    with pytest.raises(RunError, match=r"holds labels-00000\.jsonl and no manifest"):
        label_file(Fake(), source, tmp_path / "out")


def test_two_processes_do_not_meet_in_one_folder(tmp_path):
    source = write(tmp_path / "in.jsonl", questions(3))
    with run_lock(tmp_path / "out"), pytest.raises(RunError, match=f"process \\(id {os.getpid()}\\).*--output"):
        label_file(Fake(), source, tmp_path / "out")


def test_errors_are_on_disk_before_the_labels_that_make_the_shard_count(tmp_path, monkeypatch):
    source = write(tmp_path / "in.jsonl", [b"bad", {"prompt": "good"}])
    written = []
    real = label_folder.write_atomic

    def note(path, content):
        written.append(path.name)
        real(path, content)

    monkeypatch.setattr(label_folder, "write_atomic", note)
    label_file(Fake(), source, tmp_path / "out")
    assert written == [MANIFEST, "errors-00000.jsonl", "labels-00000.jsonl", MANIFEST]


def test_a_row_with_a_token_outside_the_models_embeddings_is_an_error_of_its_own(tmp_path):
    source = write(tmp_path / "in.jsonl", [{"prompt": "one two"}, {"prompt": "enormous"}, {"prompt": "six"}])
    counts = label_file(Fake(n_tokens=8), source, tmp_path / "out")
    assert (counts.labelled, counts.failed) == (2, 1)
    (error,) = map(json.loads, (tmp_path / "out" / "errors-00000.jsonl").read_text().splitlines())
    assert error["id"] == "row-2"
    assert "the token number 8 and the models have embeddings of 0 to 7 alone" in error["reason"]


@pytest.mark.parametrize("batch_tokens", [1, 20, 10_000])
def test_the_size_of_a_batch_changes_no_byte(tmp_path, batch_tokens):
    source = write(tmp_path / "in.jsonl", questions(30))
    label_file(Fake(), source, tmp_path / "a", shard_rows=9)
    fake = Fake()
    label_file(fake, source, tmp_path / "b", shard_rows=9, batch_tokens=batch_tokens)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert max(fake.batch_sizes) == {1: 1, 20: 3, 10_000: 9}[batch_tokens]


def test_twenty_kills_lose_and_double_no_row(tmp_path):
    """Children are killed with SIGKILL at drawn instants; none has to do more than the shard in work again."""
    rows = [*questions(300), {"id": "q5", "prompt": "twice"}, b"bad", {"id": "long", "prompt": "w " * 20}]
    random.Random(1).shuffle(rows)
    source = write(tmp_path / "in.jsonl", rows)
    options = {"id_column": "id", "shard_rows": 5, "batch_tokens": 30}
    label_file(Fake(), source, tmp_path / "whole", **options)
    rng = random.Random(2)
    output, n_kills = tmp_path / "out", 0
    # After as many shards as drawn, and a drawn time on: within a shard, or between its files.
    targets = [0, 0, *sorted(rng.sample(range(1, 56), 18))]
    while n_kills < 20:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                label_file(Fake(delay=0.002), source, output, **options)
                code = 0
            finally:
                os._exit(code)
        while len(list(output.glob("labels-*"))) < targets[n_kills]:
            time.sleep(0.0005)
        time.sleep(rng.uniform(0.0, 0.015))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        assert status in (0, signal.SIGKILL)
        if status == 0:  # it was faster than this process: the same again from the start
            shutil.rmtree(output)
        else:
            n_kills += 1
    last = Fake()
    n_done = len(list(output.glob("labels-*")))
    counts = label_file(last, source, output, **options)
    assert counts.rows == 303
    assert len(last.encoded) <= 303 - 5 * n_done
    assert contents(output) == contents(tmp_path / "whole")
    found = lines(output, "labels")
    assert len({r["id"] for r in found}) == len(found) == counts.labelled == 300
    assert len({r["row"] for r in lines(output, "errors")}) == counts.failed == 3


def test_ctrl_c_keeps_finished_shards_and_leaves_nothing_half_done(tmp_path):
    source = write(tmp_path / "in.jsonl", questions(100))
    code = (
        "import signal, sys, time\nfrom pathlib import Path\n"
        "from ensemw2s.services.labelling.label_file import label_file\n"
        # What a shell starts in the background inherits an ignored Ctrl-C.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Slow:\n    fingerprint = 'ffffffff'\n"
        "    def sizes(self, prompts): return [(len(p.split()), '') for p in prompts]\n"
        "    def label(self, prompts): time.sleep(0.05); return [{} for p in prompts]\n"
        "label_file(Slow(), sys.argv[1], Path(sys.argv[2]), shard_rows=5)"
    )
    with subprocess.Popen([sys.executable, "-c", code, source, str(tmp_path / "out")], stderr=subprocess.PIPE) as child:
        while not (tmp_path / "out" / "labels-00002.jsonl").exists():
            assert child.poll() is None
            time.sleep(0.01)
        child.send_signal(signal.SIGINT)
        assert b"KeyboardInterrupt" in child.communicate()[1]
    left = sorted(p.name for p in (tmp_path / "out").iterdir() if not p.name.startswith("labels-"))
    assert left == [".lock", LEDGER, MANIFEST]
    fake = Fake()
    assert label_file(fake, source, tmp_path / "out", shard_rows=5).labelled == 100
    assert len(fake.encoded) <= 85


MEASURE = """
import sys, tracemalloc
from pathlib import Path
from ensemw2s.services.labelling.label_file import label_file
class Silent:
    fingerprint = "f"
    def sizes(self, prompts): return [(1, "")] * len(prompts)
    def label(self, prompts): return [{"answer": "a"}] * len(prompts)
def label(source): label_file(Silent(), source, Path(source + ".out"), id_column="id", shard_rows=500)
label(sys.argv[1])
for source in sys.argv[2:]:
    tracemalloc.start()
    label(source)
    print(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", [".jsonl", ".parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path, kind):
    """In a process of its own: here every call is type-checked, which takes minutes for so many rows."""
    sources = [write(tmp_path / f"in{size}{kind}", questions(size)) for size in (10, 1_000, 20_000)]
    done = subprocess.run([sys.executable, "-c", MEASURE, *sources], capture_output=True, text=True, check=True)
    small, large = map(int, done.stdout.split())
    assert large <= 1.2 * small


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_is_shown_on_a_terminal_and_in_a_log(tmp_path, is_terminal):
    source = write(tmp_path / "in.jsonl", questions(20))
    interrupted(source, tmp_path / "out", after=5, shard_rows=5)
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=is_terminal, width=120)
    label_file(Fake(), source, tmp_path / "out", shard_rows=5, console=console)
    assert re.search(r"labels.*20 rows, [\d,.]+/s", shown.getvalue())
    assert ("\x1b[" in shown.getvalue()) == is_terminal


def test_a_full_disk_is_one_error_and_the_same_call_goes_on(tmp_path, monkeypatch):
    source = write(tmp_path / "in.jsonl", questions(9))
    label_file(Fake(), source, tmp_path / "whole", shard_rows=3)
    real, calls = label_folder.write_atomic, []

    def fills_up(path, content):
        calls.append(path)
        if len(calls) == 3:
            raise RunError(f"{path}: cannot be written: the disk is full")
        real(path, content)

    monkeypatch.setattr(label_folder, "write_atomic", fills_up)
    with pytest.raises(RunError, match="disk is full"):
        label_file(Fake(), source, tmp_path / "out", shard_rows=3)
    label_file(Fake(), source, tmp_path / "out", shard_rows=3)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.fixture
def command(monkeypatch, capsys):
    """Calls `ensemw2s label` with a fake ensemble: exit code, standard output, standard error."""
    fake = Fake()
    module = types.ModuleType("ensemw2s.export.ensembles.labeller")
    module.open_labeller = lambda path, trusted, features: fake
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("ensemw2s.export.ensembles.ensemble_folder.read_ensemble_record", lambda path: RECORD)
    monkeypatch.setattr("ensemw2s.export.place.exported_folder", lambda place: (place, None))

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["ensemw2s", "label", "--ensemble", "runs/x", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        return caught.value.code or 0, *capsys.readouterr()

    call.fake = fake
    return call


def test_the_command_says_how_many_and_where_and_failed_rows_are_no_failure(tmp_path, command):
    source = write(tmp_path / "in.jsonl", [{"k": "a", "q": "one"}, b"bad", {"k": "b", "q": "two"}])
    options = ("--input", source, "--output", tmp_path / "out", "--prompt", "{{ q }}?", "--id", "k", "--shard-rows", 2)
    code, out, _ = command(*options)
    assert code == 0
    assert f"2 of 3 rows labelled: {tmp_path}/out/labels-*.jsonl" in out
    assert f"1 rows could not be, with reasons: {tmp_path}/out/errors-*.jsonl" in out
    code, out, _ = command(*options, "--json")
    assert (code, json.loads(out)) == (
        0,
        {"rows": 3, "labelled": 2, "failed": 1, "shards": 2, "output": str(tmp_path / "out")},
    )
    code, _, err = command(*options, "--batch-tokens", 0)
    assert (code, "--batch-tokens is 0" in err) == (3, True)


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("out.csv", ("--format", "trl"), "let its name end in .jsonl or .parquet"),
        ("out", ("--format", "trl"), "let its name end in .jsonl or .parquet"),
        ("out.jsonl", ("--format", "trl", "--columns", "id"), "--format trl has columns of its own"),
        ("out.parquet", ("--format", "dataset"), "--format dataset writes a folder"),
        (".", ("--format", "dataset"), "something else is there"),
    ],
)
def test_a_format_that_does_not_go_with_the_output_is_refused(output, options, message, tmp_path, command):
    source = write(tmp_path / "in.jsonl", questions(2))
    code, _, err = command("--input", source, "--output", tmp_path / output, *options)
    assert (code, message in err, command.fake.labelled) == (2, True, [])


def test_a_data_set_of_answers_in_words_has_texts(tmp_path, command):
    from datasets import Value, load_dataset

    source = write(tmp_path / "in.jsonl", questions(3))
    for _ in range(2):  # again: it takes the place of the earlier one
        assert command("--input", source, "--output", tmp_path / "set", "--format", "dataset")[0] == 0
    loaded = load_dataset(str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"), split="train")
    assert loaded.features["answer"] == Value("string")
    assert loaded["answer"][:] == [row["prompt"][::-1] for row in questions(3)]
    nothing = write(tmp_path / "none.jsonl", [b"bad"])
    code, _, err = command("--input", nothing, "--output", tmp_path / "none", "--format", "dataset")
    assert (code, "none of 1 rows has a label" in err) == (3, True)


def test_a_stopped_command_says_how_to_go_on(tmp_path, command):
    def stop(prompts):
        if command.fake.labelled:
            raise KeyboardInterrupt

    command.fake.on_label = stop
    source = write(tmp_path / "in.jsonl", questions(4))
    code, _, err = command("--input", source, "--output", tmp_path / "out", "--shard-rows", 2)
    assert code == 130
    assert f"kept in {tmp_path}/out. Resume with: ensemw2s label --ensemble runs/x --input {source}" in err
    command.fake.on_label = lambda prompts: None
    assert command("--input", source, "--output", tmp_path / "out", "--shard-rows", 2)[0] == 0
    assert len(lines(tmp_path / "out", "labels")) == 4


def test_requests_are_checked_before_a_model_is_needed(tmp_path):
    source = write(tmp_path / "in.jsonl", questions(1))
    assert str(labelling.check_request(source, "{{ prompt }}", None, 1, 1)) == source
