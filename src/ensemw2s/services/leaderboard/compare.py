"""Comparison of finished runs in their folders."""

from collections.abc import Sequence
from pathlib import Path

from ensemw2s.errors import RunError
from ensemw2s.evaluation.compare import compared
from ensemw2s.pipeline.run_folder import RESULTS, read_results
from ensemw2s.results import RunComparison


def compare_runs(run_dirs: Sequence[Path]) -> RunComparison:
    """The runs side by side (`evaluation.compare`). Folders without a finished run are skipped, and named.

    Raises:
        RunError: fewer than two finished runs, or the results of one are damaged.
    """
    finished = [folder for folder in run_dirs if (folder / RESULTS).exists()]
    skipped = tuple(str(folder) for folder in run_dirs if folder not in finished)
    if len(finished) < 2:
        also = f" ({', '.join(skipped)}: no finished run there)" if skipped else ""
        raise RunError(
            f"compare: two or more run folders with finished runs are needed, got {len(finished)}{also}; for example: "
            "ensemw2s compare runs/*"
        )
    return compared([(str(folder), read_results(folder)) for folder in finished], skipped)
