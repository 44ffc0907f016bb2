"""The Markdown table of a finished run, for docs/results.md.

python benchmarks/results_table.py runs/geo-facts-deep
"""

import sys
from pathlib import Path

from ensemw2s.pipeline.run_folder import read_results, read_timing
from ensemw2s.report.table import leaderboard, percent, points
from ensemw2s.results import Results


def difference(results: Results, row: str, baseline: str) -> str:
    found = [c for c in results.comparisons if (c.row, c.baseline, c.part) == (row, baseline, "ood_test")]
    return points(found[0].difference) if found else ""


def main(run_dir: Path) -> None:
    results, timing = read_results(run_dir), read_timing(run_dir)
    print(f"Weak: {results.weak}. Strong: {results.strong}. Seeds {', '.join(map(str, results.seeds))}.\n")
    print("| row | easy-val | ID | OOD | OOD minus strong-on-easy | OOD minus single's student |")
    print("|---|---|---|---|---|---|")
    for line in leaderboard(results):
        recipe = line.key.rpartition(":")[2]
        cells = [
            f"**{line.label}**" if line.recommended else line.label,
            line.val,
            line.id_test,
            line.ood_test,
            difference(results, line.key, "strong_on_easy"),
            difference(results, line.key, f"student:single:{recipe}"),
        ]
        print("| " + " | ".join(cells) + " |")
    print()
    for pgr in results.pgr:
        if pgr.row in ("strong_on_easy", "student:single:xent-soft", "student:boosting:xent-soft"):
            value = pgr.value
            text = (
                f"undefined: {pgr.reason}" if value is None else f"{value.mean:.2f} [{value.low:.2f}, {value.high:.2f}]"
            )
            print(f"- PGR of {results.row(pgr.row).label}: {text}")
    boosted = [e for e in results.ensembles if e.method == "boosting"]
    if boosted:
        for t in range(1, min(len(e.rounds) for e in boosted)):
            rounds = [e.rounds[t] for e in boosted]
            new = sum(r.weighted_error for r in rounds) / len(rounds)
            old = sum(r.previous_error or 0.0 for r in rounds) / len(rounds)
            print(f"- boosting round {t + 1}: weighted error {new:.3f}, the expert before it {old:.3f}")
    for method in dict.fromkeys(e.method for e in results.ensembles if len(e.rounds) > 1):
        traces = [e for e in results.ensembles if e.method == method]
        off = [v for e in traces for i, r in enumerate(e.error_correlation) for j, v in enumerate(r) if i != j]
        share = 100 * sum(e.all_wrong for e in traces) / len(traces)
        print(f"- {method}: mean error correlation {sum(off) / len(off):.2f}, all wrong alike on {share:.0f}%")
    print(f"\n{results.recommendation.headline} {' '.join(results.recommendation.details)}")
    if timing:
        print(f"\n{timing.total_seconds:.0f} s, {timing.peak_memory_mib:.0f} MiB")
    ceiling, easy = (results.row(k).parts["ood_test"]["accuracy"].interval for k in ("ceiling", "strong_on_easy"))
    print(f"Ceiling {percent(ceiling)}, strong-on-easy {percent(easy)}.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
