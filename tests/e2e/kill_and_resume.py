"""Helper of test_kill.py: forks the tiny experiment from a process that has imported everything, lets it run once
undisturbed, then kills it with SIGKILL at drawn instants and resumes until it is finished.

    python kill_and_resume.py CONFIG.yaml FOLDER N_KILLS SEED

FOLDER gets `calm` and `stormy`, each with a run and a store. Three quarters of the instants are drawn among the
artifacts that the undisturbed run left, so that every stage is hit; the others are drawn in time over what comes after,
the evaluation and the files of the run folder. Prints one JSON line: for each kill, the artifacts finished and the
trainings of which a checkpoint was left.
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


def is_due(store: Path, n_artifacts: int, pid: int, *, within_training: bool) -> bool:
    """That many artifacts are finished and, among the students, a checkpoint is there if one is asked for.

    The child is stopped while a checkpoint is looked for a second time, and stays stopped where it is there: the
    training of a tiny model would otherwise end before the kill.
    """
    if count(store) < n_artifacts:
        return False
    if not (within_training and (store / "students").exists()):
        return True
    if count(store, "checkpoints") == 0:
        return False
    os.kill(pid, signal.SIGSTOP)
    if count(store, "checkpoints") > 0:
        return True
    os.kill(pid, signal.SIGCONT)
    return False


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


def wait(pid: int) -> None:
    while not finished(pid):
        time.sleep(0.01)


def storm(config_path: Path, folder: Path, n_kills: int, n_artifacts: int, seed: int) -> list[tuple[int, int]]:
    """Kill and resume; for each kill, the artifacts and the checkpoints that were there."""
    run_dir, store = folder / "run", folder / "store"
    rng = random.Random(seed)
    targets = sorted(rng.sample(range(n_artifacts), n_kills - n_kills // 4))
    kills: list[tuple[int, int]] = []
    for attempts in range(3 * n_kills):
        if len(kills) == n_kills:
            break
        pid = attempt(config_path, run_dir, store)
        if attempts < len(targets):
            due = partial(is_due, store, targets[attempts], pid, within_training=rng.random() < 0.5)
            killed = is_killed(pid, due, rng.uniform(0.0, 0.03))
        else:
            killed = is_killed(pid, lambda: True, rng.uniform(0.0, 1.0))
        if killed:
            kills.append((count(store), count(store, "checkpoints")))
    wait(attempt(config_path, run_dir, store))
    return kills


def main() -> None:
    config_path, folder = Path(sys.argv[1]), Path(sys.argv[2])
    n_kills, seed = map(int, sys.argv[3:])
    torch.set_num_threads(1)
    calm = folder / "calm"
    wait(attempt(config_path, calm / "run", calm / "store"))
    print(json.dumps(storm(config_path, folder / "stormy", n_kills, count(calm / "store"), seed)))


if __name__ == "__main__":
    main()
