"""The section "A task" of docs/extending.md, followed to the letter: a package of one file adds a task."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import ensemw2s

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
SECTION = PAGE.read_text(encoding="utf-8").partition("\n## A task\n")[2].partition("\n## ")[0]


def block(language: str) -> str:
    [content] = re.findall(rf"^```{language}\n(.*?)^```$", SECTION, re.M | re.S)
    return content


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """The page's files, installed: what pip leaves of an entry point is a line in a folder beside the module."""
    root = tmp_path_factory.mktemp("own")
    (root / "sums.py").write_text(block("python"))
    (root / "sums.yaml").write_text(block("yaml"))
    project = tomllib.loads(block("toml"))["project"]
    installed = root / f"{project['name']}-{project['version']}.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1.0\n")
    points = [
        f"[{group}]\n" + "".join(f"{name} = {where}\n" for name, where in named.items())
        for group, named in project["entry-points"].items()
    ]
    (installed / "entry_points.txt").write_text("\n".join(points))
    return root


def command(place: Path, arguments: list[str]) -> subprocess.CompletedProcess:
    source = Path(ensemw2s.__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": f"{source}{os.pathsep}{place}", "ENSEMW2S_HOME": str(place / "home")}
    call = [sys.executable, "-m", *arguments]
    return subprocess.run(call, env=environment, cwd=place, capture_output=True, text=True, check=False)


@pytest.mark.integration
def test_the_page_s_commands_validate_and_run_the_task(place):
    lines = block("sh").strip().splitlines()
    assert len(lines) == 2
    for line in lines:
        done = command(place, line.split())
        assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((place / "runs" / "sums-tiny" / "results.json").read_text())
    assert results["task"]["name"] == "sums"
    assert results["task"]["difficulty_meaning"] == "how near the sum is to the number"
    assert results["config"]["task"] == {"name": "sums", "seed": 1, "n_examples": 200}


def test_its_settings_are_checked_as_those_of_any_task(place):
    done = command(place, ["ensemw2s", "validate", "sums.yaml", "--set", "task.sed=2"])
    assert (done.returncode, done.stdout) == (2, "")
    assert "task.sed: no such setting of the task sums; did you mean 'seed'?" in " ".join(done.stderr.split())
    done = command(place, ["ensemw2s", "validate", "--set", "task.name=sum"])
    assert "task.name is one of geo-facts," in " ".join(done.stderr.split())
    assert "files, sums" in " ".join(done.stderr.split())


def test_without_the_package_there_is_no_such_task(place, tmp_path):
    (tmp_path / "sums.yaml").write_text(block("yaml"))
    done = command(tmp_path, ["ensemw2s", "validate", "sums.yaml"])
    assert done.returncode == 2
    assert "there is no task 'sums'" in done.stderr


def test_a_package_that_cannot_be_loaded_is_named(place, tmp_path):
    for folder in place.glob("*.dist-info"):
        shutil.copytree(folder, tmp_path / folder.name)
    (tmp_path / "sums.py").write_text("import no_such_library\n")
    (tmp_path / "sums.yaml").write_text(block("yaml"))
    done = command(tmp_path, ["ensemw2s", "validate", "sums.yaml"])
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    assert "ensemw2s.tasks: 'sums' of the installed package sums cannot be loaded (ModuleNotFoundError" in said
