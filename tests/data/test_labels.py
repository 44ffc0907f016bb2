"""What cells of the answers' column mean: types, spellings, what is no label, contradictions, names of classes."""

import json
import math
import unicodedata
from decimal import Decimal

import datasets
import pytest

from ensemw2s.data.load import load_task
from ensemw2s.data.own.labels import label_texts, merged_classes, without_unknown
from ensemw2s.data.readers.class_names import names_in_parquet
from ensemw2s.data.readers.load import read_rows
from ensemw2s.data.readers.stream import stream_rows
from ensemw2s.data.tasks.files import Files
from ensemw2s.errors import DataError
from ensemw2s.examples import Task

NFC, NFD = (unicodedata.normalize(form, "sí") for form in ("NFC", "NFD"))


def texts(*values: object) -> list[str | None]:
    return label_texts([(f"f line {i}", value) for i, value in enumerate(values, start=1)], "label")


def loaded(tmp_path, labels: list, **settings) -> Task:
    """A task of one row per label."""
    path = tmp_path / "q.jsonl"
    path.write_text("".join(json.dumps({"q": f"Is it {i}?", "label": x}) + "\n" for i, x in enumerate(labels)))
    return load_task(Files(path=str(path), prompt="{{ q }}", answer="label", **settings))


def answers(task: Task) -> list[str | None]:
    return [e.answer for e in task.examples]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((True, False), ["true", "false"]),
        ((1.0, 0.0, 1), ["1", "0", "1"]),
        ((Decimal("2"), 3), ["2", "3"]),
        ((["yes"], "no", ("maybe",)), ["yes", "no", "maybe"]),
        ((" yes ", "no\n"), ["yes", "no"]),
        ((NFC, NFD), [NFC, NFC]),
        ((None, math.nan, "", " ", [], [None], "yes"), [None] * 6 + ["yes"]),
    ],
)
def test_a_cell_of_any_type_is_the_label_that_it_means(values, expected):
    assert texts(*values) == expected


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ((0.0, 0.37), "f line 2, column 'label': expected a label, got 0.37 (float), a score and not a class"),
        ((math.inf, 1.0), "got inf (float), a score"),
        (("yes", True), "f line 2, column 'label': expected text, got True (bool), a boolean among other labels"),
        (("yes", ["a", "b"]), "f line 2, column 'label': 2 labels, ['a', 'b'], where a question has one answer"),
        (("yes", {"a": 1}), "got {'a': 1} (dict)"),
        (("yes", "\ud800"), "is not valid Unicode"),
    ],
)
def test_a_cell_that_is_no_label_is_refused_by_what_it_is(values, complaint):
    with pytest.raises(DataError) as caught:
        texts(*values)
    assert complaint in str(caught.value)


def test_minus_one_is_no_label_unless_it_must_be_a_class():
    assert without_unknown(["-1", "0", "1"], ()) == [None, "0", "1"]
    assert without_unknown(["-1", "0", "1"], ("-1", "0", "1")) == ["-1", "0", "1"]
    assert without_unknown(["-1", "1"], ()) == ["-1", "1"]  # of two classes, in the older notation
    assert without_unknown(["-1", "1"], ("0", "1")) == [None, "1"]


@pytest.mark.parametrize("missing", [None, math.nan, "", "  ", -1, [], "-1", "NaN", " nan", "<NA>", "null"])
def test_rows_without_a_label_are_left_out_and_counted(tmp_path, missing):
    task = loaded(tmp_path, [0, 1, missing, 1, 0])
    assert task.choices == ("0", "1")
    assert [(e.id, e.answer) for e in task.examples] == [("row-1", "0"), ("row-2", "1"), ("row-4", "1"), ("row-5", "0")]
    [note] = task.notes
    assert "1 of 5 rows have no label in the column 'label' (empty, null, NaN or -1) and are left out" in note
    assert note.endswith("q.jsonl line 3")


def test_empty_cells_as_text_are_classes_where_the_user_lists_them(tmp_path):
    assert answers(loaded(tmp_path, ["nan", "yes", "null"], choices=("nan", "yes"))) == ["nan", "yes"]


def test_a_class_that_may_mean_no_label_is_reported(tmp_path):
    task = loaded(tmp_path, ["yes", "None", "no", "None"])
    assert task.choices == ("None", "no", "yes")
    [note] = task.notes
    assert "'None' (2 rows) is taken for a class; leave the cells empty" in note


def test_minus_one_is_a_number_where_answers_are_texts(tmp_path):
    assert answers(loaded(tmp_path, [-1, 2, None, 3], answer_form="free")) == ["-1", "2", "3"]


def test_a_file_without_any_label_is_refused(tmp_path):
    with pytest.raises(DataError, match="no row has a label in the column 'label'"):
        loaded(tmp_path, [None, ""])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["yes", "no ", "yes ", "no"], ["yes", "no", "yes", "no"]),
        (["Yes", "yes", "yes", "no"], ["yes", "yes", "yes", "no"]),
        ([NFC, NFD, "no"], [NFC, NFC, "no"]),
        (["ｙｅｓ", "yes", "yes", "no"], ["yes", "yes", "yes", "no"]),
        (["new york", "New  York", "new york", "no"], ["new york", "new york", "new york", "no"]),
    ],
)
def test_spellings_of_a_class_are_one_class_named_by_the_most_frequent(tmp_path, labels, expected):
    task = loaded(tmp_path, labels)
    assert answers(task) == expected
    assert task.choices == tuple(sorted(set(expected)))


def test_spellings_that_are_merged_are_reported_with_their_rows(tmp_path):
    [note] = loaded(tmp_path, ["Yes", "yes", "yes", "no"]).notes
    assert "'Yes' (1 rows) and 'yes' (2 rows) are taken for one class, 'yes'" in note
    assert loaded(tmp_path, ["yes", "yes", "no"]).notes == ()


def test_classes_that_the_user_lists_stay_apart_and_are_reported(tmp_path):
    task = loaded(tmp_path, ["US", "us", "no"], choices=("US", "us", "no"))
    assert answers(task) == ["US", "us", "no"]
    [note] = task.notes
    assert "'US' and 'us' are spellings of one word, and classes of their own" in note


def test_a_spelling_of_a_listed_class_is_that_class(tmp_path):
    assert answers(loaded(tmp_path, ["YES", "no", NFD], choices=("yes", "no", NFC))) == ["yes", "no", NFC]
    with pytest.raises(DataError, match=r"line 3, column 'label': unknown answer 'noo'; did you mean 'no'\?"):
        loaded(tmp_path, ["yes", "no", "noo"], choices=("yes", "no"))


def test_a_tie_between_spellings_goes_to_the_first_in_order():
    assert merged_classes(["b", "B"]) == {"b": "B", "B": "B"}


def test_contradicting_answers_to_like_questions_are_reported_with_counts_and_places(tmp_path):
    rows = [("Is ice cold?", "yes"), ("is  ice COLD?", "no"), ("Is fire hot?", "yes"), ("Is fire hot?", "yes")]
    path = tmp_path / "q.jsonl"
    path.write_text("".join(json.dumps({"prompt": q, "answer": a}) + "\n" for q, a in rows))
    for form in ("choice", "free"):
        [note] = load_task(Files(path=str(path), answer_form=form)).notes
        assert "1 question has contradicting answers (2 rows)" in note
        assert f"'yes' at {path} line 1 but 'no' at {path} line 2" in note


def test_names_of_classes_stay(tmp_path):
    rows = {"q": [f"Is it {i}?" for i in range(4)], "label": [0, 1, -1, 1]}
    names = datasets.ClassLabel(names=["negative", "positive"])
    datasets.Dataset.from_dict(rows).cast_column("label", names).save_to_disk(tmp_path / "saved")
    task = load_task(Files(path=str(tmp_path / "saved"), prompt="{{ q }}", answer="label"))
    assert task.choices == ("negative", "positive")
    assert answers(task) == ["negative", "positive", "positive"]


def test_names_of_classes_stay_in_a_parquet_file_however_it_is_read(tmp_path):
    features = datasets.Features(
        {
            "q": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["negative", "positive"]),
            "topics": datasets.Sequence(datasets.ClassLabel(names=["ice", "fire"])),
        }
    )
    rows = {"q": ["a", "b", "c"], "label": [0, 1, -1], "topics": [[0], [1, 0], []]}
    path = tmp_path / "q.parquet"
    datasets.Dataset.from_dict(rows, features=features).to_parquet(path)
    expected = [("negative", ["ice"]), ("positive", ["fire", "ice"]), (None, [])]
    assert [(row["label"], row["topics"]) for _, row in read_rows(str(path))] == expected
    streamed = stream_rows(path, ["label", "topics"])
    assert [(row.columns["label"], row.columns["topics"]) for row in streamed] == expected


@pytest.mark.parametrize("metadata", [None, {}, {b"huggingface": b"["}, {b"huggingface": b'{"info": 1}'}])
def test_a_parquet_file_without_records_of_classes_has_no_names(metadata):
    assert names_in_parquet(metadata) == {}
