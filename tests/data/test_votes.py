"""Files of outside votes: what is read, what is refused and where, and which votes a run may see."""

import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from ensemw2s.config import SplitConfig, parse_config
from ensemw2s.data.load import load_task
from ensemw2s.data.own.votes import MOST_VOTERS, read_votes
from ensemw2s.data.splits import make_split
from ensemw2s.data.votes import VoteColumns, placed
from ensemw2s.errors import ConfigError, DataError
from ensemw2s.examples import Example, Task
from tiny_run import tiny_tree, tiny_words_tree, write_jsonl

CHOICES = ("no", "yes")


def task_of(n: int = 40) -> Task:
    examples = tuple(Example(f"q{i}", f"q{i}", f"Is it {i}?", CHOICES, CHOICES[i % 2], float(i)) for i in range(n))
    return Task("task", examples, CHOICES, "made", "its number")


def votes_of(table) -> dict[tuple[str, str], dict[str, float]]:
    """Voter and example to what was said."""
    found = [{} for _ in table.voter]
    for vote, choice, probability in zip(table.vote, table.choice, table.probability, strict=True):
        found[vote][CHOICES[choice]] = probability
    names = [(table.voters[v], table.ids[e]) for v, e in zip(table.voter, table.example, strict=True)]
    return dict(zip(names, found, strict=True))


EXPECTED = {
    ("ann", "q1"): {"yes": 1.0},
    ("bob", "q1"): {"no": 1.0},
    ("ann", "q2"): {"no": 0.25, "yes": 0.75},
}


def test_json_has_labels_or_a_mapping_of_probabilities(tmp_path):
    rows = [
        {"id": "q1", "voter": "bob", "label": " NO "},
        {"id": "q1", "voter": "ann", "label": "yes", "probabilities": None},
        {"id": "q2", "voter": "ann", "probabilities": {"no": 0.25, "yes": 0.75}},
        {"id": "q3", "voter": "ann", "label": ""},
    ]
    table = read_votes(str(write_jsonl(tmp_path / "v.jsonl", rows)), task_of())
    assert table.voters == ("ann", "bob")
    assert votes_of(table) == EXPECTED


def test_csv_has_labels_or_a_column_for_each_class(tmp_path):
    file = tmp_path / "v.csv"
    file.write_text("id,voter,label,no,yes\nq1,bob,no,,\nq1,ann,yes,,\nq2,ann,,0.25,.75\nq3,ann,,,\n")
    assert votes_of(read_votes(str(file), task_of())) == EXPECTED


def test_parquet_has_labels_or_a_struct(tmp_path):
    rows = [
        {"id": "q1", "voter": "bob", "label": "no", "probabilities": None},
        {"id": "q1", "voter": "ann", "label": None, "probabilities": {"no": None, "yes": 1.0}},
        {"id": "q2", "voter": "ann", "label": None, "probabilities": {"no": 0.25, "yes": 0.75}},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "v.parquet")
    assert votes_of(read_votes(str(tmp_path / "v.parquet"), task_of())) == EXPECTED


def test_the_order_of_the_rows_has_no_part(tmp_path):
    rows = [{"id": f"q{i}", "voter": v, "label": CHOICES[i % 2]} for i in range(9) for v in ("c", "a", "b")]
    tables = [
        read_votes(str(write_jsonl(tmp_path / f"{n}.jsonl", each)), task_of())
        for n, each in enumerate((rows, rows[::-1]))
    ]
    assert votes_of(tables[0]) == votes_of(tables[1])
    split = make_split(task_of(), SIZES)
    seen = [placed(table, split).on(torch.arange(20)) for table in tables]
    assert torch.equal(seen[0].said, seen[1].said)
    assert torch.equal(seen[0].voted, seen[1].voted)


GOOD = {"id": "q1", "voter": "ann", "label": "yes"}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (GOOD | {"id": "q99"}, r"the task has no id 'q99'; take the ids of its examples"),
        ({"voter": "ann", "label": "yes"}, "the task has no id None"),
        (GOOD | {"label": "yess"}, r"unknown answer 'yess'; did you mean 'yes'\?"),
        (GOOD | {"label": 0.5}, "expected a label, got 0.5; give one of 'no', 'yes'"),
        (GOOD | {"voter": " "}, "no voter, but ' '; name who voted"),
        (GOOD | {"voter": ["ann"]}, "no voter, but"),
        ({"id": "q1", "label": "yes"}, "no voter, but None"),
        (GOOD | {"id": "q0"}, "voted on this id in line 1, too; keep one of them"),
        (GOOD | {"probabilities": {"yes": 1.0}}, r"a label \('yes'\) and probabilities; give one of them"),
        ({"id": "q1", "voter": "ann"}, "neither a column 'label' nor 'probabilities'; add one"),
        (
            {"id": "q1", "voter": "a", "probabilities": {"yes": -0.5, "no": 1.5}},
            "probability of 'yes' is -0.5, no number",
        ),
        ({"id": "q1", "voter": "a", "probabilities": {"yes": True}}, "probability of 'yes' is True, no number"),
        ({"id": "q1", "voter": "a", "probabilities": {"yes": "much"}}, "probability of 'yes' is 'much', no number"),
        ({"id": "q1", "voter": "a", "probabilities": {"yes": 0.5}}, "add up to 0.5, not to 1; normalise them"),
        ({"id": "q1", "voter": "a", "probabilities": {"maybe": 1}}, "unknown answer 'maybe'"),
        ({"id": "q1", "voter": "a", "probabilities": {"yes": 0.5, "YES": 0.5}}, "a class in two spellings"),
        ({"id": "q1", "voter": "a", "probabilities": [0.5, 0.5]}, r"must be a mapping from class to number, got \[0.5"),
    ],
)
def test_a_bad_row_is_refused_with_its_line(tmp_path, row, said):
    first = {"id": "q0", "voter": "ann", "label": "no"}
    file = write_jsonl(tmp_path / "v.jsonl", [first, row])
    with pytest.raises(DataError, match=rf"v\.jsonl:2: task\.votes.*{said}"):
        read_votes(str(file), task_of())


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("v.csv", "id,voter,no\nq1,ann,0.5\n", "v.csv:2: task.votes: the probabilities add up to 0.5"),
        ("v.csv", "id,voter,text\nq1,ann,x\n", "neither a column 'label' nor of each class"),
        ("v.csv", "id,who,label\nq1,ann,no\n", "there is no column 'voter'"),
        ("v.jsonl", "", "no vote in it; give rows with id, voter and label"),
        ("v.jsonl", '{"id": "q1", "voter": "ann", "label": null}\n', "no vote in it"),
        ("v.jsonl", "nonsense\n", "v.jsonl:1: not valid JSON"),
        ("v.txt", "x", "cannot tell the format"),
    ],
)
def test_a_bad_file_is_refused(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=said):
        read_votes(str(tmp_path / name), task_of())


def test_a_missing_file_and_too_many_voters_are_refused(tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        read_votes(str(tmp_path / "none.jsonl"), task_of())
    rows = [{"id": "q1", "voter": f"v{i}", "label": "no"} for i in range(MOST_VOTERS + 1)]
    with pytest.raises(DataError, match=r"more than 1,000 voters \('v1000' is another\)"):
        read_votes(str(write_jsonl(tmp_path / "v.jsonl", rows)), task_of())


def test_votes_are_for_classes_and_refused_before_any_work(tmp_path, task_file):
    tree = tiny_words_tree(task_file)
    tree["task"] = {**tree["task"], "votes": "votes.jsonl"}
    with pytest.raises(ConfigError, match="answered in words, and votes are for classes"):
        parse_config(tree)
    tree = tiny_tree(task_file)
    tree["task"] = {**tree["task"], "votes": str(write_jsonl(tmp_path / "v.jsonl", [GOOD | {"label": "x"}]))}
    with pytest.raises(DataError, match=r"v.jsonl:1: task.votes.*unknown answer 'x'"):
        load_task(parse_config(tree).task)


SIZES = SplitConfig(
    n_easy_pool=10, n_easy_train=6, n_easy_val=4, n_hard_pool=10, n_hard_unlabelled=8, n_id_test=4, n_ood_test=4
)


def test_no_vote_on_a_test_is_placed():
    split = make_split(task_of(), SIZES)
    columns = VoteColumns()
    for i in range(40):
        columns.add(f"q{i}", "ann", [(1, 0.75), (0, 0.25)])
    columns.add(split.examples[3].id, "bob", [(0, 1.0)])  # an easy one
    votes = placed(columns.table(), split)
    tests = {row for part in ("id_test", "ood_test") for row in split.pools[part]}
    assert not tests & set(votes.row.tolist())
    everywhere = votes.on(torch.arange(len(split.examples)))
    assert not everywhere.voted[:, sorted(tests)].any()
    assert everywhere.voted.sum(1).tolist() == [20, 1]
    assert torch.allclose(everywhere.said[0, 0], torch.tensor([0.25, 0.75]))
    assert torch.allclose(everywhere.said[0, sorted(tests)], torch.tensor(0.5))  # as an abstention
    assert (votes.n_tests, votes.n_elsewhere) == (8, 12)
    assert votes.notes == ["of 41 outside votes, 8 on test examples and 12 on examples that no part has are left out"]
    rows = torch.tensor([13, 2, 17])
    assert torch.equal(votes.on(rows).said, everywhere.said[:, rows])
    none = replace(votes, n_tests=0, n_elsewhere=0)
    assert none.notes == []


def test_a_configuration_without_votes_is_written_as_before_there_were_any(task_file):
    tree = tiny_tree(task_file)
    assert "votes" not in parse_config(tree).model_dump(mode="json")["task"]
    with_votes = parse_config({**tree, "task": {**tree["task"], "votes": "v.csv"}})
    assert with_votes.model_dump()["task"]["votes"] == "v.csv"
    assert parse_config(with_votes.model_dump(mode="json")) == with_votes
    for raters, n_settings in ((0, 0), (2, 1)):
        sentiment = parse_config({"task": {"name": "sentiment", "raters_per_item": raters}})
        assert len({"raters_per_item", "raters_seed"} & set(sentiment.model_dump()["task"])) == n_settings


def test_the_split_of_a_task_with_votes_is_that_without(tmp_path, task_file):
    tree = tiny_tree(task_file)
    rows = [{"id": f"q{i}", "voter": "ann", "label": "yes"} for i in range(500)]
    with_votes = {**tree, "task": {**tree["task"], "votes": str(write_jsonl(tmp_path / "v.jsonl", rows))}}
    splits = [make_split(load_task(parse_config(t).task), parse_config(t).split) for t in (tree, with_votes)]
    assert splits[0].inputs_fingerprint == splits[1].inputs_fingerprint
    assert json.dumps(splits[0].easy_answers) == json.dumps(splits[1].easy_answers)


def test_crowd_kits_table_and_a_matrix_of_labelling_functions_will_do(tmp_path):
    crowd = tmp_path / "crowd.csv"
    crowd.write_text(",task,worker,label\n0,q1,bob,no\n1,q1,ann,yes\n2,q2,ann,\n")
    expected = {("bob", "q1"): {"no": 1.0}, ("ann", "q1"): {"yes": 1.0}}
    assert votes_of(read_votes(str(crowd), task_of())) == expected
    matrix = tmp_path / "matrix.csv"
    matrix.write_text("id,bob,ann\nq1,no,yes\nq2,-1,\n")
    assert votes_of(read_votes(str(matrix), task_of())) == expected


def test_a_matrix_with_a_label_that_is_none_is_refused(tmp_path):
    matrix = tmp_path / "matrix.csv"
    matrix.write_text("id,bob,ann\nq1,no,1\n")
    with pytest.raises(DataError, match=r"matrix.csv:2: task.votes.*unknown answer '1'"):
        read_votes(str(matrix), task_of())
