"""What a run folder holds, written and read: whose run it is, what each stage used, its figures."""

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ensemw2s.config import ExperimentConfig, canonical_hash
from ensemw2s.errors import RunError
from ensemw2s.experiment.evaluate import PACKAGES
from ensemw2s.experiment.files import write_atomic
from ensemw2s.reading import load_yaml, read_text
from ensemw2s.results import Results, Timing

ITEMS = "items.safetensors"


def claim(config: ExperimentConfig, run_dir: Path) -> None:
    """Write config.yaml into a new folder; refuse a folder that holds another configuration's run."""
    path = run_dir / "config.yaml"
    mine = canonical_hash(config)
    if path.exists():
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
        return
    tree = config.model_dump(mode="json")
    tree["_run"] = {"config_hash": mine, "versions": {name: version(name) for name in PACKAGES}}
    write_atomic(path, yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))


def write_manifest(run_dir: Path, stage: str, config: ExperimentConfig, used: Sequence[tuple[str, str]]) -> None:
    record = {
        "stage": stage,
        "config_hash": canonical_hash(config),
        "artifacts": [{"kind": kind, "key": key} for kind, key in used],
    }
    write_atomic(run_dir / "stages" / f"{stage}.json", json.dumps(record, indent=2) + "\n")


def read_items(run_dir: Path) -> dict[str, Tensor]:
    """Per item and seed, what a finished run's rows answered truly.

    `PART/ROW` is bool [seeds, items], `PART/groups` the group of each item, for the tests of the run.

    Raises:
        RunError: it is missing or damaged.
    """
    path = run_dir / ITEMS
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path}: the answers item by item are missing or damaged ({error}); run it again") from None


def read_results(run_dir: Path) -> Results:
    """The results of a finished run. Raises RunError where there are none, or of another version."""
    path = run_dir / "results.json"
    try:
        return Results.model_validate_json(path.read_text())
    except FileNotFoundError:
        raise RunError(
            f"{run_dir}: no finished run there (results.json is missing); finish it with: "
            f"ensemw2s run CONFIG --run-dir {run_dir}"
        ) from None
    except (ValueError, OSError) as error:
        first = str(error).splitlines()[0]
        raise RunError(f"{path}: not a results file of this version ({first}); run the experiment again") from None


def read_timing(run_dir: Path) -> Timing | None:
    """Seconds and memory of a run, where they are known."""
    try:
        return Timing.model_validate_json((run_dir / "timing.json").read_text())
    except (FileNotFoundError, ValueError):
        return None
