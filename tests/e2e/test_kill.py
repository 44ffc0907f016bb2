"""Kill -9 at random instants, resume, and nothing is lost, repeated or different."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ensemw2s.pipeline.run_folder import read_results
from tiny_run import merged, other_models, tiny_tree

HELPER = Path(__file__).with_name("kill_and_resume.py")


def kills_of(config: Path, folder: Path, n_kills: int) -> list[tuple[int, int]]:
    """Run undisturbed in `folder/calm` and killed in `folder/stormy`; per kill, the artifacts and checkpoints there."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HELPER), str(config), str(folder), str(n_kills), "0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [(n, checkpoints) for n, checkpoints in json.loads(done.stdout.splitlines()[-1])]


def assert_nothing_lost(folder: Path) -> None:
    """The same results to the byte, and nothing left over: no checkpoint, no temporary folder, no other artifact."""
    results = [folder / name / "run" / "results.json" for name in ("calm", "stormy")]
    assert results[0].read_bytes() == results[1].read_bytes()
    read_results(results[1].parent)
    calm, stormy = (artifacts(folder / name / "store") for name in ("calm", "stormy"))
    assert calm == stormy
    assert not list((folder / "stormy" / "store").glob(".tmp-*"))


def artifacts(store: Path) -> list[str]:
    return sorted(str(p.parent.relative_to(store)) for p in store.glob("[a-z]*/*/*/manifest.json"))


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_twenty_kills_across_the_stages_leave_the_results_of_an_undisturbed_run(tmp_path, task_file):
    changes = {
        "seeds": [0],
        # Token activations, upper layers and checkpoints within a training, dropout on everywhere.
        "strong": {"adapter": "top", "top_layers": 1},
        "student_training": {"epochs": 18, "dropout": 0.2, "checkpoint_steps": 2},
        "expert_training": {"dropout": 0.2},
        "cache": {"shard_rows": 40},
        # Whichever is recommended learns easy labels, so it is trained once more.
        "students": {"recipes": [{"with_easy": True}, {"loss": "logconf", "with_easy": True}]},
        "deliver": {"refit": True},
    }
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(merged(tiny_tree(task_file), changes)))
    kills = kills_of(config, tmp_path, 20)
    print(kills)
    assert len(kills) == 20
    assert len({n for n, _ in kills}) >= 10, f"the kills did not spread over the work: {kills}"
    assert any(checkpoints for _, checkpoints in kills), f"no kill fell within a training: {kills}"
    assert_nothing_lost(tmp_path)


@pytest.mark.cluster
@pytest.mark.timeout(600)
@pytest.mark.parametrize("models", ["mixture", "vectors"])
def test_kills_leave_the_results_of_other_models_as_they_are(models, tmp_path, task_file):
    changes = {"seeds": [0], "student_training": {"epochs": 6, "checkpoint_steps": 2}}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(merged(tiny_tree(task_file), merged(changes, other_models(models, tmp_path)))))
    kills = kills_of(config, tmp_path, 6)
    assert len({n for n, _ in kills}) >= 3, f"the kills did not spread over the work: {kills}"
    assert_nothing_lost(tmp_path)
