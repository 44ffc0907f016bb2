"""A run of a user's own files, from `ensemw2s init` on: what the benchmarks of made-up tasks share."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from ensemw2s.config import parse_config
from ensemw2s.core.intervals import seed_interval
from ensemw2s.pipeline.run import run
from ensemw2s.results import Results
from ensemw2s.services.onboarding.own_data import Wishes, write_config

Rows = Sequence[Mapping[str, str]]
MODEL = "smollm2-135m"


def ran(files: Mapping[str, Rows], answer: str, folder: Path, seed: int, changes: Mapping[str, Any]) -> Results:
    """The run of the configuration that `init` writes for these files: as many draws as it says, of a split by `seed`.

    Args:
        files: `labelled`, `unlabelled` (written without the answer) and `test`, as rows.
        answer: name of the column to learn.
        folder: an empty one, for the files and the run.
        changes: settings by section, as a user would change them by hand.
    """
    for name, rows in files.items():
        shown = [{k: v for k, v in row.items() if k != answer} for row in rows] if name == "unlabelled" else rows
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in shown), encoding="utf-8")
    paths = {name: str(folder / f"{name}.jsonl") for name in files}
    written = folder / "own.yaml"
    write_config(Wishes(**paths, answer=answer, weak=MODEL, strong=MODEL), written, ask=None, accept=True)
    tree: dict[str, Any] = yaml.safe_load(written.read_text(encoding="utf-8"))
    tree["seeds"] = [len(tree["seeds"]) * seed + k for k in range(len(tree["seeds"]))]
    tree["split"]["seed"] = seed
    for section, settings in changes.items():
        tree[section] = {**tree.get(section, {}), **settings}
    return run(parse_config(tree), folder / "run", store_root=folder / "store")


def line_of(results: Results, seed: int) -> dict[str, Any]:
    """What is kept of a run: the rows' accuracy on both tests, and which one is recommended."""
    rows = {row.key: row for row in results.rows}
    best = results.recommendation.rival or results.recommendation.row
    line: dict[str, Any] = {"seed": seed, "recommended": rows[best].label}
    for part in ("id_test", "ood_test"):
        named = {"recommended": best, **{key: key for key in rows}}
        line[part] = {name: rows[key].parts[part]["accuracy"].interval.mean for name, key in named.items()}
    return line


def kept(results: Path, lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Write a line per seed, in the place of an earlier one of that seed and beside those of others; all of them."""
    earlier = (
        [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()] if results.exists() else []
    )
    by_seed = {line["seed"]: line for line in (*earlier, *lines)}
    every = [dict(by_seed[seed]) for seed in sorted(by_seed)]
    results.write_text("".join(json.dumps(line) + "\n" for line in every), encoding="utf-8")
    return every


def show(lines: Sequence[Mapping[str, Any]]) -> None:
    """Mean and 95% interval over seeds of every row that all lines have."""
    for part in ("id_test", "ood_test"):
        for name in lines[0][part]:
            if all(name in line[part] for line in lines):
                told = seed_interval(torch.tensor([line[part][name] for line in lines], dtype=torch.float64))
                print(f"{part:9} {name:40} {100 * told.mean:5.1f} [{100 * told.low:.1f}, {100 * told.high:.1f}]")
