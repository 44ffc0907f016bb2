"""Helper of test_kill.py: forks the tiny experiment from a process that has imported everything, kills it with
SIGKILL at random instants, and resumes until it is finished.

    python kill_and_resume.py CONFIG.yaml RUN_DIR STORE N_KILLS SEED

Prints one JSON line: the number of kills, and the store's artifact count at each.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from ensemw2s.config import load_config
from ensemw2s.experiment.runner import run


def count(store: Path) -> int:
    # Folders come and go while we look (checkpoints, temporary ones), so a look may have to be repeated.
    while True:
        try:
            return sum(1 for _ in store.glob("[a-z]*/*/*/manifest.json"))
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


def main() -> None:
    config_path, run_dir, store = (Path(a) for a in sys.argv[1:4])
    n_kills, rng = int(sys.argv[4]), random.Random(int(sys.argv[5]))
    torch.set_num_threads(1)
    kills: list[int] = []
    while len(kills) < n_kills:
        pid = attempt(config_path, run_dir, store)
        # Half of the instants are drawn in time, so that starting up is hit too, half in finished work.
        deadline = time.monotonic() + rng.uniform(0.0, 0.8) if rng.random() < 0.4 else float("inf")
        target, slack = count(store) + rng.randint(1, 5), rng.uniform(0.0, 0.03)
        while time.monotonic() < deadline and count(store) < target:
            if finished(pid):
                break
            time.sleep(0.001)
        else:
            time.sleep(slack)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            kills.append(count(store))
            continue
        break  # it finished before its instant came
    if not (run_dir / "results.json").exists() or len(kills) == n_kills:
        pid = attempt(config_path, run_dir, store)
        while not finished(pid):
            time.sleep(0.01)
    print(json.dumps(kills))


if __name__ == "__main__":
    main()
