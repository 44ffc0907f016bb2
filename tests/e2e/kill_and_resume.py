"""Helper of test_kill.py: forks the tiny experiment from a process that has imported everything, kills it with
SIGKILL at drawn instants, and resumes until it is finished.

    python kill_and_resume.py CONFIG.yaml RUN_DIR STORE N_KILLS N_ARTIFACTS SEED

N_ARTIFACTS is how many an undisturbed run leaves: three quarters of the instants are drawn among them, so that every
stage is hit; the others are drawn in time over what comes after, the evaluation and the files of the run folder.
Prints one JSON line: for each kill, the artifacts finished and the trainings of which a checkpoint was left.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from ensemw2s.config import load_config
from ensemw2s.pipeline.run import run


def count(store: Path, kinds: str = "[a-bd-z]*") -> int:
    """Finished artifacts; checkpoints come and go, and count by their own name only."""
    # Folders vanish while we look (checkpoints, temporary ones), so a look may have to be repeated.
    while True:
        try:
            return sum(1 for _ in store.glob(f"{kinds}/*/*/manifest.json"))
        except FileNotFoundError:
            continue


def attempt(config_path: Path, run_dir: Path, store: Path) -> int:
    """The process id of a child that runs or resumes the experiment."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            run(load_config(config_path), run_dir, store_root=store)
            code = 0
        finally:
            os._exit(code)
    return pid


def finished(pid: int) -> bool:
    done, status = os.waitpid(pid, os.WNOHANG)
    if done and status:
        sys.exit(f"the run failed by itself: status {status}")
    return bool(done)


def is_due(store: Path, n_artifacts: int, *, within_training: bool) -> bool:
    """That many artifacts are finished and, among the students, a checkpoint is there if one is asked for."""
    if count(store) < n_artifacts:
        return False
    return not (within_training and (store / "students").exists()) or count(store, "checkpoints") > 0


def is_killed(pid: int, due: Callable[[], bool], delay: float) -> bool:
    """Kill the child `delay` seconds after it is `due`; False where it finished first."""
    while not due():
        if finished(pid):
            return False
        time.sleep(0.001)
    time.sleep(delay)
    if finished(pid):
        return False
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return True


def main() -> None:
    config_path, run_dir, store = (Path(a) for a in sys.argv[1:4])
    n_kills, n_artifacts, seed = map(int, sys.argv[4:])
    rng = random.Random(seed)
    torch.set_num_threads(1)
    targets = sorted(rng.sample(range(n_artifacts), n_kills - n_kills // 4)) if n_kills else []
    kills: list[tuple[int, int]] = []
    for attempts in range(3 * n_kills):
        if len(kills) == n_kills:
            break
        pid = attempt(config_path, run_dir, store)
        if attempts < len(targets):
            due = partial(is_due, store, targets[attempts], within_training=rng.random() < 0.5)
            killed = is_killed(pid, due, rng.uniform(0.0, 0.03))
        else:
            killed = is_killed(pid, lambda: True, rng.uniform(0.0, 1.0))
        if killed:
            kills.append((count(store), count(store, "checkpoints")))
    pid = attempt(config_path, run_dir, store)
    while not finished(pid):
        time.sleep(0.01)
    print(json.dumps(kills))


if __name__ == "__main__":
    main()
