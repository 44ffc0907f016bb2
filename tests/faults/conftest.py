"""A finished run of each kind, whose folders tests copy and spoil."""

from pathlib import Path

import pytest

from ensemw2s.config import parse_config
from ensemw2s.pipeline.run import run
from tiny_run import comparison_rows, merged, tiny_tree, tiny_words_tree, write_jsonl

TREES = {"classes": tiny_tree, "words": tiny_words_tree}


@pytest.fixture(scope="session", params=TREES)
def finished(request, tmp_path_factory) -> Path:
    """A run folder, by classes or in words; its store lies beside."""
    root = tmp_path_factory.mktemp(request.param)
    tree = TREES[request.param](write_jsonl(root / "q.jsonl", comparison_rows()))
    small = {"seeds": [0], "ensemble": {"methods": ["single", "bagging"], "n_rounds": 2}, "students": {"recipes": [{}]}}
    if request.param == "words":
        small["students"] = {"recipes": [{"labels": "hard"}]}
    run(parse_config(merged(tree, small)), root / "run", store_root=root / "store")
    return root / "run"
