"""docs/extending.md, followed to the letter in a copy of the package."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import ensemw2s
from tiny_run import merged, tiny_tree

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
ROW = "student:single:xent-soft-median[floor=0.001]"
RUN = """
import sys
from pathlib import Path
from ensemw2s.config import load_config
from ensemw2s.pipeline.run import run
folder = Path(sys.argv[1])
results = run(load_config(folder / "own.yaml"), folder / "run", store_root=folder / "store")
print("\\n".join(row.key for row in results.rows))
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)


def patched(text: str, diff: str) -> str:
    lines = diff.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] in " -")
    assert text.count(before) == 1
    return text.replace(before, "".join(line[1:] for line in lines if line[0] in " +"))


def child(arguments: list[str], path: list[Path], home: Path) -> str:
    """What a process says that imports from these folders."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path)), "ENSEMW2S_HOME": str(home)}
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def own_config(tmp_path, task_file):
    changes = yaml.safe_load(blocks("yaml")[0])
    small = {"seeds": [0], "ensemble": {"methods": ["single"], "n_rounds": 1}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(merged(merged(tiny_tree(task_file), small), changes)))
    return tmp_path


def test_the_page_s_label_model_runs_in_a_copy_of_the_package(own_config):
    module, test, _ = blocks("python")
    source = own_config / "src"
    shutil.copytree(Path(ensemw2s.__file__).parent, source / "ensemw2s", ignore=shutil.ignore_patterns("__pycache__"))
    labels = source / "ensemw2s" / "core" / "labels"
    (labels / "median.py").write_text(module)
    table = source / "ensemw2s" / "tables.py"
    table.write_text(patched(table.read_text(), blocks("diff")[0]))
    (own_config / "test_median.py").write_text(test)
    assert ROW in child(["-c", RUN, str(own_config)], [source], own_config / "home").splitlines()
    pytest_call = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(own_config)]
    said = child([*pytest_call, str(own_config / "test_median.py")], [source], own_config / "home")
    assert "1 passed" in said


def test_a_script_may_add_its_own_without_touching_the_package(own_config):
    module, _, script = blocks("python")
    (own_config / "median.py").write_text(module)
    source = Path(ensemw2s.__file__).parents[1]
    said = child(["-c", script + RUN, str(own_config)], [source, own_config], own_config / "home")
    assert ROW in said.splitlines()
