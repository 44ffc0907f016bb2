"""Runs the notebooks of docs/notebooks from their first cell to their last, and keeps what came out.

    python benchmarks/notebooks.py                   # all of them
    python benchmarks/notebooks.py quickstart        # one

What they write goes to a folder that is removed. Needs the packages of `make integrations`.
"""

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"


def executed(path: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook with the outputs of a run in that folder. Raises CellExecutionError where a cell fails."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # `ensemw2s` in %%bash
    os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"  # tqdm's, where there is no ipywidgets
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=240, kernel_name="python3", resources=place)
    client.record_timing, client.coalesce_streams = False, True
    client.execute()
    notebook.metadata = {name: notebook.metadata[name] for name in ("kernelspec",)}
    return notebook


def main(names: list[str]) -> None:
    for path in sorted(FOLDER.glob("*.ipynb")):
        if not names or path.stem in names:
            with tempfile.TemporaryDirectory() as folder:
                nbformat.write(executed(path, Path(folder)), path)
            print(path.name)


if __name__ == "__main__":
    main(sys.argv[1:])
