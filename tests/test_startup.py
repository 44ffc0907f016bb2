"""What starts at once: names, help and refused settings load no library that takes seconds."""

import json
import subprocess
import sys

import pytest

import ensemw2s

HEAVY = [
    "accelerate",
    "altair",
    "datasets",
    "jinja2",
    "numpy",
    "pandas",
    "peft",
    "pyarrow",
    "ray",
    "safetensors",
    "scipy",
    "sklearn",
    "torch",
    "transformers",
    "vl_convert",
]
CHILD = f"""
import json, sys
argv = json.loads(sys.argv[1])
import ensemw2s
code = 0
if argv is not None:
    from ensemw2s import cli
    sys.argv = ["ensemw2s", *argv]
    try:
        cli.main()
    except SystemExit as stop:
        code = stop.code
print(json.dumps([code, [m for m in {HEAVY} if m in sys.modules]]))
"""


def started(argv: list[str] | None) -> tuple[int, list[str]]:
    """Exit code and loaded libraries of a process that imports the package and, given arguments, runs the program."""
    child = [sys.executable, "-c", CHILD, json.dumps(argv)]
    done = subprocess.run(child, capture_output=True, text=True, check=True)
    code, modules = json.loads(done.stdout.splitlines()[-1])
    return code, modules


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (None, 0),
        (["--help"], 0),
        (["--version"], 0),
        (["run", "--help"], 0),
        (["rum"], 2),
        (["run", "--sead", "3"], 2),
        (["run", "nowhere.yaml"], 2),
        (["run", "--set", "ensembel.n_rounds=3"], 2),
        (["validate", "--set", "ensemble.prior=1.5"], 2),
        (["plan", "--set", "ensemble.methods=[boostin]"], 2),
        (["plan", "--tiny", "--set", "task.name=files"], 2),
        (["run", "--set", "students.recipes=[{loss: xen}]"], 2),
        (["run", "--set", "students.recipes=[{label_model: vot}]"], 2),
        (["run", "--set", "students.recipes=[{selection: al}]"], 2),
        (["run", "--set", "task.name=geo-countries", "--set", "ensemble.vote=hard"], 2),
        (["sweep", "--over", "weak.n_layer=2,3", "--output", "nowhere"], 2),
        (["validate", "--no-data", "--no-models"], 0),
    ],
    ids=lambda value: "import" if value is None else None if isinstance(value, int) else " ".join(value),
)
def test_names_help_and_refused_settings_load_no_heavy_library(argv, code):
    assert started(argv) == (code, [])


def test_every_public_name_is_there_and_listed():
    assert set(ensemw2s.__all__) <= set(dir(ensemw2s))
    for name in ensemw2s.__all__:
        assert getattr(ensemw2s, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        ensemw2s.Nothing  # noqa: B018
