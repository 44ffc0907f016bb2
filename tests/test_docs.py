"""Every command that README and the documentation show is one that the command line takes."""

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from ensemw2s.cli.commands import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
SHELL = ("", "sh", "bash", "console")
INDENTED = re.compile(r"^    (ensemw2s [^\n\\]*(?:\\\n[^\n\\]*)*)$", re.M)


def commands() -> list[tuple[str, str]]:
    """Page and command line, continued lines joined."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = [*(block for language, block in BLOCK.findall(text) if language in SHELL), *INDENTED.findall(text)]
        lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
        found += [(str(page.relative_to(ROOT)), line.strip()) for line in lines if line.strip().startswith("ensemw2s ")]
    return found


SHOWN = commands()
COMMANDS = get_command(app).commands


def test_there_are_commands_to_check():
    assert len(SHOWN) > 40
    assert {"README.md", "docs/quickstart.md", "docs/own-data.md"} <= {page for page, _ in SHOWN}


@pytest.mark.parametrize(("page", "line"), SHOWN, ids=[f"{page}: {line}"[:80] for page, line in SHOWN])
def test_a_command_is_taken(page, line):
    _, name, *words = shlex.split(line, comments=True)
    words = words[: words.index("|")] if "|" in words else words
    if name != "--version":
        COMMANDS[name].make_context(name, words).close()  # raises what a user would be told


def test_every_test_that_the_pages_name_is_there():
    named = {
        (page.name, name)
        for page in PAGES
        if page.name != "extending.md"  # its reader writes them
        for name in re.findall(r"`(?:tests/)?((?:\w+/)*test_\w+\.py)`", page.read_text(encoding="utf-8"))
    }
    assert len(named) > 20
    assert [each for each in sorted(named) if not (ROOT / "tests" / each[1]).is_file()] == []
