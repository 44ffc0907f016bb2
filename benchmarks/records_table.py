"""The table of docs/records.md: rows of one run beside those of others on the same split, with paired differences.

python benchmarks/records_table.py runs/geo-records-raw runs/geo-records [runs/geo-records-twin]
"""

import sys
from pathlib import Path

from safetensors.torch import load_file

from ensemw2s.core.intervals import Resamples, mean_interval
from ensemw2s.core.seeds import stream

ROWS = ("single", "boosting", "strong_on_easy", "student:single:xent-soft", "student:boosting:xent-soft", "ceiling")


def main(first: str, *others: str) -> None:
    base = load_file(Path(first) / "items.safetensors")
    for part in ("id_test", "ood_test"):
        groups = base[f"{part}/groups"]
        for other in others:
            found = load_file(Path(other) / "items.safetensors")
            assert found[f"{part}/groups"].equal(groups), "runs of the same split"
            drawn = Resamples.draw(groups, len(base[f"{part}/single"]), stream(0, "records"))
            for row in ROWS:
                a, b = (each[f"{part}/{row}"].double() for each in (base, found))
                d = mean_interval(b - a, drawn)
                change = f"{100 * d.mean:+.1f} [{100 * d.low:+.1f}, {100 * d.high:+.1f}]"
                means = f"{100 * a.mean():.1f} | {Path(other).name}: {100 * b.mean():.1f}"
                print(f"| {part} | {row} | {means} | {change} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
