"""Does a plan come true? Three configurations on SmolLM2-135M, planned and then run, each in a process of its own.

    python benchmarks/plan.py [words]

Printed are estimated and real seconds and memory; ends with 1 where an estimate of time is off by more than 1.5.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
SPLIT = {
    "n_easy_pool": 300,
    "n_easy_train": 160,
    "n_easy_val": 80,
    "n_hard_pool": 240,
    "n_hard_unlabelled": 160,
    "n_id_test": 120,
    "n_ood_test": 120,
}
RECIPES = {"recipes": [{}, {"with_easy": True}]}
LAYERS: dict[str, Any] = {"adapter": "top", "top_layers": 2}
TRAINING = {"epochs": 2, "patience": None, "schedule": "cosine", "batch_size": 16, "learning_rate": 1e-4}
CONFIGS: dict[str, dict[str, Any]] = {
    "classes, heads": {"seeds": [0, 1], "weak": {"n_layers": 8}, "strong": {"n_layers": 20}},
    "classes, upper layers": {
        "seeds": [0],
        "split": SPLIT,
        "weak": {"n_layers": 8, **LAYERS},
        "strong": {"n_layers": 12, **LAYERS},
        "expert_training": TRAINING,
        "student_training": TRAINING,
        "ensemble": {"n_rounds": 3, "methods": ["single", "independent", "bagging"]},
        "students": RECIPES,
    },
    "words": yaml.safe_load((ROOT / "configs" / "demo" / "demo-generation.yaml").read_text()) | {"seeds": [0]},
}
PLANNED = """
import sys
from pathlib import Path
from ensemw2s.config import load_config
from ensemw2s.services.planning.plan import make_plan
found = make_plan(load_config(Path(sys.argv[1])))
print(found.model_dump_json())
"""
RUN = """
import sys
from pathlib import Path
from ensemw2s.config import load_config
from ensemw2s.pipeline.run import run
run(load_config(Path(sys.argv[1])), Path(sys.argv[2]), store_root=Path(sys.argv[3]))
"""


def main() -> None:
    worst = 1.0
    for name in sys.argv[1:] or CONFIGS:
        tree = CONFIGS[name]
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            path = place / "config.yaml"
            path.write_text(yaml.safe_dump(tree | {"name": "planned"}))
            found = json.loads(_python(PLANNED, path).splitlines()[-1])
            _python(RUN, path, place / "run", place / "store")
            timing = json.loads((place / "run" / "timing.json").read_text())
            disk = sum(p.stat().st_size for p in (place / "store").rglob("*.safetensors"))
        ratio = found["seconds"] / timing["total_seconds"]
        worst = max(worst, ratio, 1 / ratio)
        print(
            f"{name}: planned {found['seconds']:.0f} s, took {timing['total_seconds']:.0f} s: {ratio:.2f}; memory "
            f"{found['peak_memory'] / 2**20:.0f} MiB, was {timing['peak_memory_mib']:.0f}; disk "
            f"{found['disk'] / 2**20:.0f} MiB, was {disk / 2**20:.0f}",
            flush=True,
        )
        by_stage: dict[str, float] = {}
        for line in found["lines"]:
            by_stage[line["stage"]] = by_stage.get(line["stage"], 0.0) + line["seconds"]
        real = {stage["stage"]: stage["seconds"] for stage in timing["stages"]}
        print("  " + ", ".join(f"{s}: {by_stage.get(s, 0):.0f} / {t:.0f}" for s, t in real.items()), flush=True)
    sys.exit(worst > 1.5)


def _python(code: str, *arguments: Path) -> str:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
