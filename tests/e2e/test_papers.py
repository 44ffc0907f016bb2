"""Every configuration that comes with the package is valid without a network, and runs to its end with --tiny."""

import json
import re
import sys
from pathlib import Path

import pytest
import yaml
from huggingface_hub.utils import validate_repo_id

from ensemw2s import cli
from ensemw2s.config import ExperimentConfig, ModelConfig, load_config
from ensemw2s.names import TINY_MODELS
from ensemw2s.pipeline.run import run
from ensemw2s.pipeline.tiny import tiny

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*/*.yaml"))
PAPERS = [path for path in CONFIGS if path.parent.name == "papers"]


def by_name(path: Path) -> str:
    return path.stem


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """One for all runs: what two configurations share is computed once."""
    return tmp_path_factory.mktemp("store")


def test_there_are_configurations_of_every_paper():
    assert len(PAPERS) >= 10
    assert {path.name.split("-")[0] for path in PAPERS} == {"ensemw2s", "openai", "eleuther", "anthropic"}


@pytest.mark.parametrize("path", CONFIGS, ids=by_name)
def test_each_is_valid_without_data(path: Path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ensemw2s", "validate", "--no-data", "--json", str(path)])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    facts = json.loads(capsys.readouterr().out)
    assert facts["name"] == path.stem


@pytest.mark.parametrize("path", PAPERS, ids=by_name)
def test_each_of_a_paper_says_which_and_names_models_and_data_of_the_hub(path: Path):
    text = path.read_text()
    comment = " ".join(line[2:] for line in text.splitlines() if line.startswith("# "))
    assert re.search(r"arXiv \d{4}\.\d{5}|\(20\d\d\)", comment)
    config = load_config(path)
    for model in (config.weak.model, config.strong.model):
        assert model.count("/") == 1
        validate_repo_id(model)
    if config.task.path and config.task.path.startswith("hub:"):
        validate_repo_id(config.task.path.removeprefix("hub:"))


@pytest.mark.parametrize(
    "path", [pytest.param(p, marks=[pytest.mark.families] if p in PAPERS else [], id=by_name(p)) for p in CONFIGS]
)
def test_each_runs_to_its_end_with_everything_tiny(path: Path, tmp_path, store):
    config = load_config(path)
    results = run(tiny(config), tmp_path / "run", store_root=store)
    assert results.name == f"{path.stem}-tiny"
    assert {e.method for e in results.ensembles} == set(config.ensemble.methods)
    assert results.row("strong_on_easy").parts
    assert any("random weights" in note for note in results.notes)
    assert "these figures mean nothing" in results.recommendation.headline
    assert (tmp_path / "run" / "report.html").stat().st_size > 100_000


TASK_SIZES = {"path", "unlabelled", "test", "max_per_country", "n_countries", "n_examples", "n_couples", "n_rivals"}


def kept(config: ExperimentConfig) -> dict:
    """What decides which code runs."""
    model = {"adapter", "lora_alpha", "lora_start"}
    tree = config.model_dump()
    sections = ("difficulty", "split", "students", "generation", "ensemble", "cache")
    tree = {name: tree[name] for name in sections} | {
        "weak": [member.model_dump(include=model) for member in config.pool],
        "strong": config.strong.model_dump(include=model),
        "all_layers": [each.lora_layers is None for _, each in config.models],
        "is_mixture": config.strong.lora_experts > 1,
        "task": config.task.model_dump(exclude=TASK_SIZES),
    }
    sizes = {"n_folds", "n_labelled", "n_rounds"} | {name for name in tree["split"] if name.startswith("n_")}
    for name in sections:
        tree[name] = {key: value for key, value in tree[name].items() if key not in sizes}
    tree["generation"].pop("boost_unit")
    tree["generation"].pop("samples", None)
    tree["students"].pop("in_context", None)
    tree["ensemble"]["context"] = config.ensemble.context.model_dump(exclude={"n"})
    tree["generation"]["decoding"].pop("max_new_tokens")
    return tree


@pytest.mark.parametrize("path", CONFIGS, ids=by_name)
def test_tiny_keeps_what_decides_which_code_runs(path: Path):
    config = load_config(path)
    found = tiny(config)
    assert kept(found) == kept(config)
    assert {each.model for _, each in found.models} <= {*TINY_MODELS, "tf-idf"}
    assert tiny(config) == found


def test_a_model_with_code_of_its_own_or_a_chat_template_becomes_a_plain_one():
    weak = ModelConfig(
        model="owner/name",
        trust_remote_code_from="owner/name",
        revision="abc",
        chat=True,
        head_hidden=64,
        lora_layers=7,
    )
    found = tiny(ExperimentConfig(weak=weak)).weak
    assert (found.trust_remote_code_from, found.revision, found.chat) == (None, None, False)
    assert (found.head_hidden, found.lora_layers) == (8, 1)


def test_the_command_runs_and_validates_the_tiny_experiment(tmp_path, monkeypatch, capsys):
    path = tmp_path / "mine.yaml"
    task = {"name": "files", "path": "no-such-file.jsonl", "prompt": "{{ q }}", "choices": ["no", "yes"]}
    tree = {
        "name": "mine",
        "task": task,
        "split": {"kind": "random"},
        "weak": {"model": "no/such-model"},
        "strong": {"model": "no/other-model"},
        "ensemble": {"methods": ["single"]},
        "students": {"recipes": [{}]},
    }
    path.write_text(yaml.safe_dump(tree))
    monkeypatch.chdir(tmp_path)
    for command in ("validate", "run"):
        monkeypatch.setattr(sys, "argv", ["ensemw2s", command, str(path), "--tiny"])
        with pytest.raises(SystemExit, match="0"):
            cli.main()
        out = capsys.readouterr().out
        assert ("valid" if command == "validate" else "on the held-out test") in out
    results = json.loads((tmp_path / "runs" / "mine-tiny" / "results.json").read_text())
    assert any(note.startswith("The split is random") for note in results["notes"])
    assert results["difficulty"] == []
    page = (tmp_path / "runs" / "mine-tiny" / "report.html").read_text()
    assert "nothing is easy or hard" in page
    assert "ID is the easy test" not in page


def test_a_random_split_leaves_no_part_to_difficulty_or_to_an_unlabelled_file(tmp_path):
    for task, rest, setting in (
        ({"unlabelled": "u.jsonl"}, {}, "task.unlabelled"),
        ({}, {"difficulty": {"source": "entropy"}}, "difficulty.source"),
    ):
        tree = {"task": {"name": "files", "path": "q.jsonl", **task}, "split": {"kind": "random"}, **rest}
        with pytest.raises(ValueError, match=f"split.kind: random deals all examples alike, so {setting} has no part"):
            ExperimentConfig.model_validate(tree)
