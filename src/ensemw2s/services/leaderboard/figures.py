"""From finished runs to a leaderboard: a pure function of their results and of what each row answered, item by item."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ensemw2s.core import intervals
from ensemw2s.core.ranking import holm, mean_of_tasks, rank_intervals, wins_and_losses
from ensemw2s.core.seeds import stream
from ensemw2s.evaluation.conditions import labels_in_words
from ensemw2s.evaluation.figures import interval_of
from ensemw2s.pipeline.run_folder import read_items, read_results
from ensemw2s.results import Interval, Results
from ensemw2s.results.conditions import CEILING, SELF, STRONG_ON_EASY, ZERO_SHOT
from ensemw2s.results.leaderboard import Leaderboard, LeaderboardCell, LeaderboardLine, LeaderboardTask, LeaderboardWork
from ensemw2s.services.leaderboard.methods import AUTO, METHODS, SINGLE


@dataclass(frozen=True)
class TaskRun:
    """A finished run of one task, and which row each method is."""

    name: str
    folder: Path
    rows: Mapping[str, str]


def make_leaderboard(
    runs: Sequence[TaskRun], root: Path, *, seconds: float, missing: Sequence[str] = ()
) -> Leaderboard:
    """All figures of a leaderboard.

    Raises:
        RunError: a run is not finished, or its items are damaged.
    """
    tasks, cells, work, notes = [], [], [], []
    for run in runs:
        results, items = read_results(run.folder), read_items(run.folder)
        tasks.append(_task(run, results, items, root))
        cells += _cells(run, results, items)
        work.append(_work(run, results))
        notes += [f"{run.name}: {note}" for note in results.notes if "`auto`" in note]
    methods = list(dict.fromkeys(m for run in runs for m in run.rows))
    words = {task.name for task in tasks if task.is_words}
    lines = [_line(m, [c for c in cells if c.method == m], words) for m in methods]
    lines.sort(key=lambda line: (-line.n_tasks, -line.gain.mean))
    saved = LeaderboardWork(
        experts_alone=sum(w[0] for w in work),
        experts=sum(w[1] for w in work),
        evaluations_alone=sum(w[2] for w in work),
        evaluations=sum(w[3] for w in work),
        seconds=round(seconds, 1),
    )
    return Leaderboard(
        methods=tuple(methods),
        tasks=tuple(tasks),
        cells=tuple(cells),
        lines=tuple(lines),
        work=saved,
        missing=tuple(missing),
        notes=tuple(notes),
    )


def _task(run: TaskRun, results: Results, items: Mapping[str, Tensor], root: Path) -> LeaderboardTask:
    keys = {row.key for row in results.rows}
    wanted = {
        "zero_shot": ZERO_SHOT.key,
        "single": run.rows[SINGLE],
        "strong_on_easy": STRONG_ON_EASY.key,
        "ceiling": CEILING.key,
    }
    part = results.hardest_test
    return LeaderboardTask(
        name=run.name,
        is_words=results.metric == "exact match",
        metric=results.metric,
        seeds=results.seeds,
        n_items=len(items[f"{part}/groups"]),
        references={
            name: results.row(key).parts[part]["accuracy"].interval for name, key in wanted.items() if key in keys
        },
        weak=results.weak,
        strong=results.strong,
        run=str(run.folder.relative_to(root)),
    )


def _cells(run: TaskRun, results: Results, items: Mapping[str, Tensor]) -> list[LeaderboardCell]:
    part = results.hardest_test
    resamples = intervals.Resamples.draw(
        items[f"{part}/groups"], len(results.seeds), stream(0, "interval", part)
    )  # the draws of the run's own figures

    def of(row: str) -> Tensor:
        return items[f"{part}/{row}"].double()

    correct = torch.stack([of(row) for row in run.rows.values()])
    ranks = rank_intervals(correct, resamples)
    counts = wins_and_losses(correct, resamples)
    on_easy, single = of(STRONG_ON_EASY.key), of(run.rows[SINGLE])
    p_values = [intervals.paired_p_value(values - on_easy, resamples) for values in correct]
    adjusted = holm([p for p in p_values if p is not None])
    pgr = {p.row: p.value for p in results.pgr}
    return [
        LeaderboardCell(
            method=method,
            task=run.name,
            row=row,
            accuracy=results.row(row).parts[part]["accuracy"].interval,
            gain=interval_of(intervals.mean_interval(correct[i] - single, resamples), intervals.DIFFERENCE),
            distance=interval_of(intervals.mean_interval(correct[i] - on_easy, resamples), intervals.DIFFERENCE),
            distance_p=adjusted[i] if adjusted else None,
            pgr=pgr.get(row),
            rank=interval_of(ranks[i]),
            wins=counts[i][0],
            losses=counts[i][1],
            cost=results.row(row).cost,
        )
        for i, (method, row) in enumerate(run.rows.items())
    ]


def _line(method: str, cells: Sequence[LeaderboardCell], words: Collection[str]) -> LeaderboardLine:
    spec = METHODS.get(method)
    forms = {
        "classes": [c.gain for c in cells if c.task not in words],
        "words": [c.gain for c in cells if c.task in words],
    }
    return LeaderboardLine(
        method=method,
        group=AUTO if spec is None else spec.group,
        teacher="" if spec is None else spec.teacher,
        recipe="" if spec is None else labels_in_words(spec.recipe),
        n_tasks=len(cells),
        rank=sum(c.rank.mean for c in cells) / len(cells),
        wins=sum(c.wins for c in cells),
        losses=sum(c.losses for c in cells),
        flops=sum(c.cost.flops for c in cells) / len(cells),
        is_baseline=spec is not None and spec.teacher == SELF,
        gain=_mean([c.gain for c in cells]),
        gain_by_form={form: _mean(gains) for form, gains in forms.items() if gains},
        distance=_mean([c.distance for c in cells]),
    )


def _mean(each: Sequence[Interval]) -> Interval:
    return interval_of(mean_of_tasks([intervals.Estimate(**interval.model_dump()) for interval in each]))


def _work(run: TaskRun, results: Results) -> tuple[int, int, int, int]:
    """Expert trainings and evaluations: had each method been run by itself, and as it was."""
    trained = {(e.method, e.seed): len(e.rounds) for e in results.ensembles}
    alone = sum(
        trained.get((METHODS[name].teacher, seed), 0) for name in run.rows if name in METHODS for seed in results.seeds
    )
    used = json.loads((run.folder / "stages" / "experts.json").read_text())["artifacts"]
    distinct = len({a["key"] for a in used if a["kind"] == "experts"})
    each = sum(n for part, n in results.task.sizes.items() if part in ("easy_pool", "hard_pool", "id_test", "ood_test"))
    return alone, distinct, alone * each, distinct * each
