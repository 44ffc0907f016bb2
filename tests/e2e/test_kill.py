"""Kill -9 at random instants, resume, and nothing is lost, repeated or different."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ensemw2s.experiment.runner import read_results
from tiny_run import merged, tiny_tree

HELPER = Path(__file__).with_name("kill_and_resume.py")


def go(config: Path, folder: Path, n_kills: int, seed: int = 0) -> list[int]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        str(HELPER),
        str(config),
        str(folder / "run"),
        str(folder / "store"),
        str(n_kills),
        str(seed),
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.timeout(600)
def test_twenty_kills_across_the_stages_leave_the_results_of_an_undisturbed_run(tmp_path, task_file):
    changes = {
        "ensemble": {"n_rounds": 3},
        # Token activations, upper layers and checkpoints within a training, dropout on everywhere.
        "strong": {"adapter": "top", "top_layers": 1},
        "student_training": {"epochs": 6, "dropout": 0.2, "checkpoint_steps": 2},
        "expert_training": {"dropout": 0.2},
        "cache": {"shard_rows": 40},
    }
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(merged(tiny_tree(task_file), changes)))
    assert go(config, tmp_path / "calm", 0) == []
    kills = go(config, tmp_path / "stormy", 20)
    assert len(kills) == 20
    assert len(set(kills)) >= 10, f"the kills did not spread over the work: {kills}"
    calm, stormy = (tmp_path / name / "run" / "results.json" for name in ("calm", "stormy"))
    assert stormy.read_bytes() == calm.read_bytes()
    read_results(stormy.parent)
    keys = [
        sorted(p.parent.name for p in (tmp_path / name / "store").glob("[a-z]*/*/*/manifest.json"))
        for name in ("calm", "stormy")
    ]
    assert keys[0] == keys[1]
