"""Labelling by workers: two single-thread workers against one, and Ray against this process.

    python benchmarks/workers.py [--seconds 10]

An ensemble of three experts that own the upper 2 of SmolLM2-135M's first 8 layers answers in words. Workers hold it
from the first call on; loading it is not part of any figure.
"""

import argparse
import itertools
import json
import tempfile
import time
from pathlib import Path

import torch

from ensemw2s.config import load_config
from ensemw2s.distributed.cluster import connected
from ensemw2s.export.ensembles.labeller import open_labeller, open_reader
from ensemw2s.pipeline.run import run
from ensemw2s.services.labelling.engine import Engine, LocalEngine
from ensemw2s.services.labelling.label_file import label_file
from ensemw2s.services.labelling.ray_engine import RayEngine
from side_by_side import ratio, shown, steady

ROOT = Path(__file__).parent.parent
SMALL = [
    "seeds=[0]",
    "task.n_countries=6",
    "split.n_easy_pool=40",
    "split.n_easy_train=24",
    "split.n_easy_val=12",
    "split.n_hard_pool=16",
    "split.n_hard_unlabelled=12",
    "split.n_id_test=8",
    "split.n_ood_test=12",
    "ensemble.methods=[bagging]",
    "ensemble.select_by=log_loss",
    "students.recipes=[{labels: hard}]",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="of a shard, at least")
    seconds = parser.parse_args().seconds
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, connected(3, None) as ray:
        place, number = Path(folder), itertools.count()
        ensemble = place / "run"
        config = load_config(ROOT / "configs" / "demo" / "demo-generation.yaml", SMALL)
        run(config, ensemble, store_root=place / "store")
        reader, local = open_reader(ensemble), LocalEngine(open_labeller(ensemble))

        def label(engine: Engine, n_rows: int, n_shards: int) -> None:
            source = place / f"{n_rows}.jsonl"
            if not source.exists():
                rows = [json.dumps({"prompt": f"In which country is the city of Aa{i}?"}) for i in range(n_rows)]
                source.write_text("\n".join(rows) + "\n")
            label_file(
                reader, str(source), place / f"out{next(number)}", shard_rows=-(-n_rows // n_shards), engine=engine
            )

        label(local, 32, 1)
        started = time.perf_counter()
        label(local, 64, 1)
        rate = 64 / (time.perf_counter() - started)
        n_rows = max(64, int(1.1 * seconds * rate))
        print(f"{rate:.1f} rows/s in this process, one thread; shards of {n_rows} rows", flush=True)
        print(f"this process against itself: {steady(lambda: label(local, n_rows, 1)):.2f}", flush=True)
        one, two = (RayEngine(ray, ensemble, n) for n in (1, 2))
        found, values = ratio(lambda: label(one, n_rows, 1), lambda: label(local, n_rows, 1))
        print(f"one worker through Ray / this process: {found:.3f} ({shown(values)})", flush=True)
        found, values = ratio(lambda: label(one, n_rows, 4), lambda: label(two, n_rows, 4))
        print(f"two workers, labels a second / one: {found:.2f} ({shown(values)})", flush=True)


if __name__ == "__main__":
    main()
