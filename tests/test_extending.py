"""docs/extending.md, followed to the letter: a section's package is installed, and the command line knows its piece."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import ensemw2s

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
ROWS = {
    "A boosting rule": {"boosting", "capped", "student:capped:xent-soft"},
    "A loss": {"student:single:xent-soft", "student:single:focal[gamma=1.0]-soft"},
}
"""Rows of the table that the run of a section has, beside the usual ones."""


def sections() -> dict[str, str]:
    """Sections of the page that describe a package."""
    parts = re.split(r"^## (.*)\n", PAGE, flags=re.M)[1:]
    return {title: text for title, text in zip(parts[::2], parts[1::2], strict=True) if "```toml" in text}


def files(text: str) -> dict[str, str]:
    """The files that a section shows, by name."""
    found = re.findall(r"\bfile `([^`]+)`[^\n]*:\n\n```\w+\n(.*?)^```$", text, re.M | re.S)
    return dict(found)


def install(folder: Path, project: str) -> None:
    """What installing leaves beside the modules: the name of the package and its entry points."""
    settings = tomllib.loads(project)["project"]
    info = folder / f"{settings['name']}-{settings['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {settings['name']}\nVersion: {settings['version']}\n")
    groups = settings["entry-points"].items()
    points = "".join(f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in found.items()) for group, found in groups)
    (info / "entry_points.txt").write_text(points)


def child(folder: Path, arguments: list[str]) -> str:
    """What a process says that can import from the package and from this folder."""
    path = os.pathsep.join([str(Path(ensemw2s.__file__).parents[1]), str(folder)])
    environment = os.environ | {"PYTHONPATH": path, "ENSEMW2S_HOME": str(folder / "home")}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.integration
@pytest.mark.parametrize("section", ROWS)
def test_a_section_of_the_page_is_followed_to_the_letter(section, tmp_path):
    text = sections()[section]
    written = files(text)
    for name, content in written.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    install(tmp_path, written["pyproject.toml"])
    tests = [name for name in written if name.startswith("test_")]
    if tests:
        said = child(tmp_path, ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), *tests])
        assert f"{len(tests)} passed" in said
    commands = re.findall(r"^ensemw2s (.*)$", text, re.M)
    assert [command.split()[0] for command in commands] == ["validate", "run"]
    for command in commands:
        child(tmp_path, ["-m", "ensemw2s", *command.split()])
    (results,) = tmp_path.glob("runs/*/results.json")
    rows = {row["key"] for row in json.loads(results.read_text(encoding="utf-8"))["rows"]}
    assert ROWS[section] <= rows


def test_every_section_with_a_package_is_followed():
    assert set(sections()) == {*ROWS, "A task"}  # that one by test_extending_task
