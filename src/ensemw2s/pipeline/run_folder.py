"""What a run folder holds, written and read: whose run it is, what each stage used, its figures."""

import errno
import json
import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ensemw2s.config import ExperimentConfig, canonical_hash
from ensemw2s.errors import RunError
from ensemw2s.reading import load_yaml, read_text
from ensemw2s.results import Results, Timing
from ensemw2s.storage.checksums import (
    FILE,
    checksums_of,
    content_of,
    facts,
    file_fault,
    files_fault,
    folder_fault,
    listed,
)
from ensemw2s.storage.files import explained, refusal, write_atomic

PACKAGES = ("ensemw2s", "torch", "transformers", "peft", "safetensors", "scikit-learn", "scipy", "numpy")
"""Whose versions a run notes down."""
CONFIG, RESULTS, ITEMS, TIMING, REPORT = (
    "config.yaml",
    "results.json",
    "items.safetensors",
    "timing.json",
    "report.html",
)
SEALED = (CONFIG, RESULTS, ITEMS, TIMING, REPORT)
"""What a finished run's checksums cover, beside what its stages used."""
EVENTS = "events.jsonl"
PROGRESS = "progress.json"
"""How far a run is; a finished one has none."""
EXPORT = "export"
"""Folder of figures and tables that somebody asked for."""
FOLDERS = ("stages", "student", "ensemble")


def check_folder(config: ExperimentConfig, run_dir: Path) -> None:
    """Refuse a folder in which the run could not end; one that nobody has claimed is free.

    Raises:
        RunError: it holds another configuration's run, or a folder where a file belongs, or the other way round.
    """
    for name in (*SEALED, EVENTS, PROGRESS, FILE):
        if (run_dir / name).is_dir():
            raise refusal(run_dir / name, IsADirectoryError(errno.EISDIR, ""))
    for name in FOLDERS:
        if (run_dir / name).is_file():
            raise refusal(run_dir / name, NotADirectoryError(errno.ENOTDIR, ""))
    path = run_dir / CONFIG
    if not path.exists():
        return
    mine = canonical_hash(config)
    try:
        theirs = str(load_yaml(read_text(path, RunError), str(path), RunError)["_run"]["config_hash"])
    except (RunError, KeyError, TypeError):
        raise RunError(
            f"{path}: not the configuration of a run; move the file away or choose another --run-dir"
        ) from None
    if theirs != mine:
        raise RunError(
            f"{run_dir}: this folder holds a run of another configuration ({theirs[:12]}, yours is {mine[:12]}); "
            "choose another --run-dir, or remove the folder (what both share is kept in the store)"
        )


def claim(config: ExperimentConfig, run_dir: Path) -> None:
    """Write config.yaml, by which the folder is this configuration's; only once every check has passed."""
    tree = config.model_dump(mode="json")
    packages = {name: version(name) for name in PACKAGES}
    tree["_run"] = {"config_hash": canonical_hash(config), "versions": packages}
    write(run_dir, CONFIG, yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))


def release(run_dir: Path) -> None:
    """Take an unfinished run's claim back, for the mended configuration; what was made lies in the store."""
    if (run_dir / RESULTS).exists():
        return
    with explained(run_dir):
        for path in (*run_dir.glob("stages/*.json"), run_dir / TIMING, run_dir / PROGRESS, run_dir / CONFIG):
            path.unlink(missing_ok=True)


def write(run_dir: Path, name: str, content: str | bytes) -> None:
    """Write a file of the run whole. Raises RunError when the disk refuses, or the folder has vanished."""
    with explained(run_dir):
        run_dir.stat()  # or it would be made anew, without what else it held
    write_atomic(run_dir / name, content)


def write_manifest(run_dir: Path, stage: str, config: ExperimentConfig, used: Sequence[tuple[str, str]]) -> None:
    record = {
        "stage": stage,
        "config_hash": canonical_hash(config),
        "artifacts": [{"kind": kind, "key": key} for kind, key in used],
    }
    write(run_dir, f"stages/{stage}.json", json.dumps(record, indent=2) + "\n")


def seal(run_dir: Path) -> None:
    """Write down the checksums of a finished run, by which damage is known. Raises RunError."""
    with explained(run_dir):
        stages = (p.relative_to(run_dir).as_posix() for p in run_dir.glob("stages/*.json"))
        write(run_dir, FILE, checksums_of(run_dir, (*SEALED, *stages)))


def seal_again(run_dir: Path, name: str) -> None:
    """Take the checksum of one file anew, where a page was written again; the others stay. Raises RunError."""
    with explained(run_dir):
        files = (listed(run_dir) or {}) | {name: facts(run_dir / name)}
        write(run_dir, FILE, content_of(files))


def faults(run_dir: Path) -> list[str]:
    """What is wrong with the files of a finished run, one by one; nothing of a run that is not finished."""
    if not os.path.lexists(run_dir / FILE):
        return []
    files = listed(run_dir)
    if files is None:
        return [f"{FILE} is unreadable"]
    found = (files_fault(run_dir, {name: entry}) for name, entry in files.items())
    return [fault for fault in found if fault]


def is_finished(run_dir: Path, config: ExperimentConfig) -> bool:
    """Whether a finished and undamaged run of this configuration is there."""
    if folder_fault(run_dir, required=SEALED) is not None:
        return False
    try:
        return read_results(run_dir).config_hash == canonical_hash(config)
    except RunError:
        return False


def _check_sealed(run_dir: Path, name: str) -> None:
    files = listed(run_dir) or {}
    fault = files_fault(run_dir, {name: files[name]}) if name in files else f"{FILE} does not list {name}"
    if fault:
        raise RunError(
            f"{run_dir / name}: damaged, or not written to its end ({fault}); run the experiment again, which takes "
            "what was finished from the store"
        )


def read_items(run_dir: Path) -> dict[str, Tensor]:
    """Per item and seed, what a finished run's rows answered truly.

    `PART/ROW` is bool [seeds, items], `PART/groups` the group of each item, for the tests of the run.

    Raises:
        RunError: it is missing or damaged.
    """
    path = run_dir / ITEMS
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path}: the answers item by item are missing or damaged ({error}); run it again") from None
    _check_sealed(run_dir, ITEMS)
    return found


def read_results(run_dir: Path) -> Results:
    """The results of a finished run. Raises RunError where there are none, or of another version."""
    path = run_dir / RESULTS
    try:
        results = Results.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise RunError(
            f"{run_dir}: no finished run there (results.json is missing); finish it with: "
            f"ensemw2s run CONFIG --run-dir {run_dir}"
        ) from None
    except (ValueError, OSError) as error:
        first = str(error).splitlines()[0]
        raise RunError(f"{path}: not a results file of this version ({first}); run the experiment again") from None
    _check_sealed(run_dir, RESULTS)
    return results


def read_timing(run_dir: Path) -> Timing | None:
    """Seconds and memory of a run, where they are known; None where they are damaged too."""
    entry = (listed(run_dir) or {}).get(TIMING)
    if entry is not None and file_fault(run_dir / TIMING, entry) is not None:
        return None
    try:
        return Timing.model_validate_json((run_dir / TIMING).read_bytes())
    except (OSError, ValueError):
        return None
