"""Finished runs side by side, paired where their seeds and test items are the same."""

from collections.abc import Sequence

import torch

from ensemw2s.core import intervals
from ensemw2s.evaluation.figures import interval_of
from ensemw2s.results import Results, RunComparison, RunLine, RunPair
from ensemw2s.results.conditions import CEILING, STRONG_ON_EASY


def compared(runs: Sequence[tuple[str, Results]], skipped: Sequence[str] = ()) -> RunComparison:
    """Main figures of each run, and the difference of each run to the first.

    Differences are paired by seed, with Student-t intervals over seeds. Runs of one seed, of different seeds or of
    different splits have none.

    Args:
        runs: by name, one or more.
        skipped: names of those that have no figures.
    """
    lines = tuple(_line(name, r) for name, r in runs)
    first_name, first = runs[0]
    pairs = tuple(_pair(name, r, first_name, first) for name, r in runs[1:])
    return RunComparison(lines=lines, pairs=pairs, skipped=tuple(skipped))


def _line(name: str, results: Results) -> RunLine:
    keys = {r.key for r in results.rows}
    wanted = [k for k in (results.recommendation.row, STRONG_ON_EASY.key, CEILING.key) if k in keys]
    has_ood = results.hardest_test == "ood_test"
    accuracy = {k: results.row(k).parts["ood_test"]["accuracy"].interval for k in wanted if has_ood}
    return RunLine(
        run=name,
        row=results.recommendation.row,
        labels={key: results.row(key).label for key in wanted},
        n_seeds=len(results.seeds),
        metric=results.metric,
        accuracy=accuracy,
    )


def _pair(name: str, results: Results, first_name: str, first: Results) -> RunPair:
    reason = ""
    if results.seeds != first.seeds:
        reason = f"the seeds differ: {list(results.seeds)} and {list(first.seeds)}"
    elif (results.config["task"], results.config["split"]) != (first.config["task"], first.config["split"]):
        reason = "the task or the split differs, so the test items are not the same"
    elif results.hardest_test != "ood_test":  # of both: the task is the same
        reason = "there is no OOD test"
    elif len(results.seeds) < 2:
        reason = "one seed has no interval; run more seeds"
    if reason:
        return RunPair(first=name, second=first_name, difference=None, reason=reason)
    a, b = (
        torch.tensor(r.row(r.recommendation.row).parts["ood_test"]["accuracy"].per_seed).double()
        for r in (results, first)
    )
    difference = interval_of(intervals.seed_interval(a - b), intervals.DIFFERENCE)
    return RunPair(first=name, second=first_name, difference=difference, reason="")
