"""Does labelling hold its memory however long the file is? 1,000 against 100,000 prompts, the tiny model, in words.

    python benchmarks/label_memory.py [--rows 100000]

Each size is labelled by a process of its own; compared is the peak of its resident memory.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from tiny_run import comparison_rows, merged, tiny_words_tree, write_jsonl

MEASURED = """
import resource, sys
from pathlib import Path
import torch
from ensemw2s.export.ensembles.labeller import open_labeller
from ensemw2s.services.labelling.label_file import label_file
torch.set_num_threads(1)
counts = label_file(open_labeller(Path(sys.argv[1])), sys.argv[2], Path(sys.argv[3]), prompt="{q}", id_column="id",
                    console=None)
print(counts.labelled, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        environment = os.environ | {"ENSEMW2S_HOME": str(root / "home"), "OMP_NUM_THREADS": "1"}
        # Two experts, short answers, wide batches: minutes for 100,000 prompts.
        changes = {
            "seeds": [0],
            "ensemble": {"n_rounds": 2},
            "generation": {"decoding": {"max_new_tokens": 4, "batch_rows": 256}},
        }
        tree = merged(tiny_words_tree(write_jsonl(root / "task.jsonl", comparison_rows())), changes)
        (root / "tiny.yaml").write_text(yaml.safe_dump(tree))
        command = [sys.executable, "-m", "ensemw2s", "run", str(root / "tiny.yaml"), "--run-dir", str(root / "run")]
        subprocess.run([*command, "--json"], env=environment, check=True, stdout=subprocess.DEVNULL)
        peaks = []
        for n in (1_000, arguments.rows):
            with (root / f"{n}.jsonl").open("w") as file:
                for i in range(n):
                    file.write(json.dumps({"id": f"q{i}", "q": f"Is {i * 7 % 1000} above {i * 13 % 997}?"}) + "\n")
            started = time.perf_counter()
            labelled = [
                sys.executable,
                "-c",
                MEASURED,
                str(root / "run"),
                str(root / f"{n}.jsonl"),
                str(root / f"o{n}"),
            ]
            done = subprocess.run(labelled, env=environment, check=True, capture_output=True, text=True)
            count, peak = done.stdout.split()
            peaks.append(float(peak))
            seconds = time.perf_counter() - started
            print(f"{count} rows: peak {float(peak):.0f} MiB, {seconds:.0f} s, {n / seconds:.0f} rows/s", flush=True)
        print(f"peak of {arguments.rows} rows / peak of 1000: {peaks[1] / peaks[0]:.3f}")


if __name__ == "__main__":
    main()
