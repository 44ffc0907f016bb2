"""The notebooks of docs/notebooks: each runs to its last cell, and is committed as such a run left it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
LARGEST = 150_000
"""Bytes of a notebook with its outputs."""


def code_cells(notebook: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def by_name(path: Path) -> str:
    return path.stem


@pytest.mark.integration
@pytest.mark.parametrize("path", NOTEBOOKS, ids=by_name)
def test_a_notebook_runs_to_its_end(path, tmp_path, monkeypatch):
    from notebooks import executed

    monkeypatch.setenv("ENSEMW2S_HOME", str(tmp_path / "home"))
    for name in ("PATH", "PYTHONWARNINGS"):  # `executed` sets them
        monkeypatch.setenv(name, os.environ.get(name, ""))
    new, old = code_cells(executed(path, tmp_path)), code_cells(json.loads(path.read_text(encoding="utf-8")))
    for now, before in zip(new, old, strict=True):
        kinds = [{output["output_type"] for output in cell["outputs"]} for cell in (now, before)]
        assert kinds[0] == kinds[1], f"other outputs than committed; python benchmarks/notebooks.py: {now['source']}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=by_name)
def test_a_notebook_is_committed_as_one_whole_run_left_it(path):
    text = path.read_text(encoding="utf-8")
    cells = code_cells(json.loads(text))
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert len(text) < LARGEST
    assert "/tmp/" not in text
    assert str(Path.home()) not in text
    assert f"notebooks/{path.name}" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


def test_there_are_three():
    assert [path.stem for path in NOTEBOOKS] == ["boosting-rule", "own-data", "quickstart"]
