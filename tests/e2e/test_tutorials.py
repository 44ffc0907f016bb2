"""The tutorials, followed to the letter but for the models: tiny ones, so that each command takes seconds."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from ensemw2s import cli

DOCS = Path(__file__).parents[2] / "docs"
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
TINY = {"init": ["--weak", "tiny", "--strong", "tiny", "--yes"], "run": ["--tiny"], "plan": ["--no-calibrate"]}
"""What is added to a command: models that are here, every stage in seconds."""
STAYS_UP = ("serve",)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("page", "made"),
    [("tutorial-tickets.md", "sorted.csv queue.csv"), ("tutorial-answers.md", "replies.jsonl labels.parquet")],
)
def test_a_tutorial_is_followed(page, made, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENSEMW2S_HOME", str(tmp_path / "home"))
    for language, block in FENCED.findall((DOCS / page).read_text(encoding="utf-8")):
        if language == "python":
            exec(block, {})
            continue
        for line in block.splitlines():
            _, name, *words = shlex.split(line)
            if name in STAYS_UP:
                continue
            monkeypatch.setattr(sys, "argv", ["ensemw2s", name, *words, *TINY.get(name, [])])
            with pytest.raises(SystemExit) as stop:
                cli.main()
            assert not stop.value.code, (line, capsys.readouterr().err)
    for file in made.split():
        assert (tmp_path / file).is_file()
