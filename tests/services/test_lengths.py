"""Prompts that a model has no positions for: refused before any work, and of many rows only their own."""

import json
import sys
from pathlib import Path

import pytest
from transformers import GPT2Config, GPT2LMHeadModel

from ensemw2s import cli
from ensemw2s.config import parse_config
from ensemw2s.errors import DataError
from ensemw2s.export.ensembles.labeller import open_labeller, open_reader
from ensemw2s.export.student import answer_prompts
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.loading.tiny import byte_tokenizer
from ensemw2s.pipeline.prepare import check, prepare
from ensemw2s.pipeline.run import run
from ensemw2s.services.labelling.label_file import label_file
from ensemw2s.services.onboarding.lengths import check_lengths
from ensemw2s.services.onboarding.own_data import Wishes, write_config
from ensemw2s.storage.store import Store
from tiny_run import merged, tiny_tree, tiny_words_tree, write_jsonl

POSITIONS = 64
LONG = "Background. " * 6 + "Is 5 above 4?"
MIXED = [{"q": "Is 5 above 4?"}, {"q": LONG}, {"q": " "}, {"p": "no q"}, {"q": 0.5}, {"q": "Is 6 above 4?"}]


@pytest.fixture(scope="module")
def short(tmp_path_factory) -> Path:
    """A GPT-2 of few positions."""
    folder = tmp_path_factory.mktemp("models") / "short"
    config = GPT2Config(vocab_size=258, n_positions=POSITIONS, n_embd=16, n_layer=4, n_head=2, pad_token_id=0)
    config.bos_token_id = config.eos_token_id = 1
    GPT2LMHeadModel(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def tree_of(plain: dict, model: Path, **changes) -> dict:
    few = {
        "seeds": [0],
        "ensemble": {"n_rounds": 1, "methods": ["single"]},
        "students": {"recipes": [{"labels": "hard"}]},
    }
    models = {name: {"model": str(model), "max_length": 512} for name in ("weak", "strong")}
    return merged(merged(plain, few | models), changes)


def with_long_row(task_file: Path, folder: Path) -> Path:
    rows = [json.loads(line) for line in task_file.read_text().splitlines()]
    return write_jsonl(folder / "long.jsonl", [rows[0] | {"q": LONG}, *rows[1:]])


@pytest.mark.parametrize("plain", [tiny_tree, tiny_words_tree])
def test_a_prompt_beyond_the_positions_is_refused_before_any_work(tmp_path, task_file, short, plain):
    config = parse_config(tree_of(plain(with_long_row(task_file, tmp_path)), short))
    task, split = check(config)
    with pytest.raises(DataError, match=r"'q0': its prompt has 85 tokens, more than the model's 64 positions"):
        check_lengths(config, task, split)
    if plain is tiny_tree:
        with pytest.raises(DataError, match=r"'q0': its prompt has 85 tokens, more than the model's 64 positions"):
            prepare(config, Store(tmp_path / "store"), lambda model, n: None)


def test_validate_says_what_is_read_and_what_no_setting_can_raise(task_file, short):
    config = parse_config(tree_of(tiny_tree(task_file), short))
    said, notes = check_lengths(config, *check(config))
    assert said["weak"] == "the longest prompt has 15 tokens, at most 64 are read"
    assert f"weak.max_length is 512, but {short} has 64 positions: a longer prompt is refused" in notes


def test_what_init_writes_is_what_the_models_read(tmp_path, short):
    rows = [{"question": f"Is {i} above 40?", "answer": "yes" if i > 40 else "no"} for i in range(80)]
    wishes = Wishes(str(write_jsonl(tmp_path / "q.jsonl", rows)), weak=str(short), strong="tiny")
    written = write_config(wishes, tmp_path / "my.yaml", ask=None, accept=True)
    assert (written.config.weak.max_length, written.config.strong.max_length) == (64, 128)
    assert written.notes == ()
    write_jsonl(tmp_path / "q.jsonl", [*rows, {"question": LONG, "answer": "no"}])
    with pytest.raises(DataError, match="its prompt has 93 tokens, more than the model's 64 positions"):
        write_config(wishes, tmp_path / "other.yaml", ask=None, accept=True)
    assert not (tmp_path / "other.yaml").exists()


def test_a_model_that_is_not_here_is_not_fetched(task_file):
    models = {"weak": {"model": "owner/nothing"}, "strong": {"model": "owner/nothing"}}
    config = parse_config(merged(tiny_tree(task_file), models))
    said, _ = check_lengths(config, *check(config))
    assert said["weak"] == "not checked: owner/nothing is not on this machine"


def labelled(run_dir: Path, mixed: Path, output: Path) -> tuple[list[dict], list[dict]]:
    counts = label_file(open_labeller(run_dir), str(mixed), output, prompt="{{ q }}")
    assert (counts.labelled, counts.failed) == (2, 4)
    found = [output / f"{kind}-00000.jsonl" for kind in ("labels", "errors")]
    labels, errors = ([json.loads(line) for line in path.read_text().splitlines()] for path in found)
    return labels, errors


@pytest.mark.parametrize("plain", [tiny_tree, tiny_words_tree])
def test_a_bad_row_ends_neither_label_nor_predict(tmp_path, task_file, short, plain, monkeypatch, capsys):
    decoding = {"max_new_tokens": 6}
    tree = tree_of(plain(task_file), short, generation={"decoding": decoding})
    run(parse_config(tree), tmp_path / "run", store_root=tmp_path / "store")
    mixed = write_jsonl(tmp_path / "mixed.jsonl", MIXED)
    with mixed.open("a") as file:
        file.write("{torn\n")
    mixed_without_torn = write_jsonl(tmp_path / "whole.jsonl", MIXED)
    labels, errors = labelled(tmp_path / "run", mixed_without_torn, tmp_path / "labels")
    assert [label["id"] for label in labels] == ["row-1", "row-6"]
    limit = POSITIONS - (6 if plain is tiny_words_tree else 0)
    assert f"its prompt has 85 tokens and the models read at most {limit}" in errors[0]["reason"]
    assert open_reader(tmp_path / "run").readers[0].max_length == limit
    command = ["ensemw2s", "predict", str(tmp_path / "run"), "--input", str(mixed), "--prompt", "{{ q }}"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    out, err = capsys.readouterr()
    found = [json.loads(line) for line in out.splitlines()]
    assert [bool(f["answer"]) if "error" not in f else None for f in found][1:5] == [None] * 4
    assert "error" not in found[0]
    assert "error" not in found[5]
    assert f"its prompt has 85 tokens, and the student reads 1 to {limit}" in found[1]["error"]
    assert "its prompt is empty" in found[2]["error"]
    assert "not valid JSON" in found[6]["error"]
    assert "5 of 7 rows have no answer" in " ".join(err.split())


def test_a_student_says_of_each_prompt_alone_why_it_has_no_answer(tmp_path, task_file, short, monkeypatch):
    run(parse_config(tree_of(tiny_tree(task_file), short)), tmp_path / "run", store_root=tmp_path / "store")
    first, second, third = answer_prompts(tmp_path / "run" / "student", ["Is 5 above 4?", "", LONG])
    assert first["answer"] in ("no", "yes")
    assert [second["answer"], third["answer"]] == [None, None]
    assert "has 0 tokens" in second["error"]
    assert "has 85 tokens" in third["error"]
    monkeypatch.setattr(Backbone, "n_tokens", 100)  # the byte tokenizer writes a space with a larger number
    first, second = answer_prompts(tmp_path / "run" / "student", ["Is?", "Is 5 above 4?"])
    assert first["answer"] in ("no", "yes")
    assert "embeddings of 0 to 99 alone" in second["error"]
