"""Runs what is missing of a ladder, and counts the gain at each rung. Calling it again finishes or repeats nothing."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from rich.console import Console
from torch import Tensor

from ensemw2s.config import ExperimentConfig, canonical_hash
from ensemw2s.core import intervals
from ensemw2s.core.seeds import stream
from ensemw2s.evaluation.figures import difference_of
from ensemw2s.names import BOOSTING, SINGLE
from ensemw2s.pipeline.run import run
from ensemw2s.pipeline.run_folder import is_finished, read_items, read_results
from ensemw2s.report.ladder import markdown
from ensemw2s.results import Results
from ensemw2s.results.conditions import Condition, ensemble, student
from ensemw2s.results.ladder import Gain, Ladder, LadderRung
from ensemw2s.screen import say
from ensemw2s.services.replication.rungs import LadderPlan, Rung
from ensemw2s.storage.files import write_atomic
from ensemw2s.storage.locks import run_lock


def build_ladder(
    plan: LadderPlan, root: Path, *, store_root: Path | None = None, console: Console | None = None
) -> Ladder:
    """Run what is missing of the ladder, below `root`, and write ladder.json and ladder.md there.

    The runs share the store, so what they have in common is trained once.

    Raises:
        ConfigError, DataError, ModelError: before any training, naming what to mend.
        RunError: the folder is in use or cannot be written.
    """
    with run_lock(root, option="--output"):
        for number, config in enumerate(plan.runs, start=1):
            folder = root / folder_of(config)
            done = is_finished(folder, config)
            if console is not None:
                say(console, f"{number}/{len(plan.runs)}  {config.name}{': there' if done else ''}")
            if not done:
                run(config, folder, store_root=store_root, console=console)
        ladder = make_ladder(plan, root)
        write_atomic(root / "ladder.json", ladder.model_dump_json(indent=1) + "\n")
        write_atomic(root / "ladder.md", markdown(ladder))
        return ladder


def folder_of(config: ExperimentConfig) -> str:
    """Name of a run's folder; another configuration has another one."""
    return f"{config.name}-{canonical_hash(config)[:8]}"


def make_ladder(plan: LadderPlan, root: Path) -> Ladder:
    """The figures of the finished runs below `root`. Raises RunError where one is missing or damaged."""
    facts = read_results(root / folder_of(plan.rungs[0].single))
    return Ladder(
        name=plan.config.name,
        config_hash=canonical_hash(plan.config),
        seeds=plan.config.seeds,
        metric=facts.metric,
        weak=facts.weak,
        strong=facts.strong,
        rungs=tuple(_rung(rung, root) for rung in plan.rungs),
        left_out=plan.left_out,
    )


class _Run:
    """What a finished run's rows answered truly, and the sizes of its ensembles."""

    def __init__(self, folder: Path):
        self.results: Results = read_results(folder)
        self.items: Mapping[str, Tensor] = read_items(folder)

    def right(self, part: str, condition: Condition) -> Float[Tensor, "seeds items"]:
        return self.items[f"{part}/{condition.key}"].double()

    @property
    def sizes(self) -> list[int]:
        return list(self.results.row(ensemble(BOOSTING).key).n_experts)


def _rung(rung: Rung, root: Path) -> LadderRung:
    boosted, single = [_Run(root / folder_of(config)) for config in rung.boosted], _Run(root / folder_of(rung.single))
    folders = dict.fromkeys(folder_of(config) for config in (*rung.boosted, rung.single))
    return LadderRung(
        change=rung.change,
        n_seeds=rung.n_seeds,
        gains=tuple(_gains(rung, boosted, single)),
        runs=tuple(folders),
    )


def _gains(rung: Rung, boosted: Sequence[_Run], single: _Run) -> Iterator[Gain]:
    sides: dict[Literal["ensemble", "student"], tuple[Condition, Condition]] = {
        "ensemble": (ensemble(BOOSTING), ensemble(SINGLE)),
        "student": (student(BOOSTING, rung.recipe), student(SINGLE, rung.single_recipe)),
    }
    sizes = torch.tensor([each.sizes for each in boosted])
    for part in (p for p in ("id_test", "ood_test") if f"{p}/groups" in single.items):
        resamples = intervals.Resamples.draw(single.items[f"{part}/groups"], rung.n_seeds, stream(0, "interval", part))
        for of, (ours, theirs) in sides.items():
            right = torch.stack([each.right(part, ours) for each in boosted])
            best, seeds = best_by_the_test(right), torch.arange(right.shape[1])
            against = single.right(part, theirs)
            yield Gain(
                of=of,
                part=part,
                boosted=tuple(right[best, seeds].mean(1).tolist()),
                single=tuple(against.mean(1).tolist()),
                n_experts=tuple(sizes[best, seeds].tolist()),
                difference=difference_of((right[best, seeds] - against)[: rung.n_seeds], resamples),
            )


def best_by_the_test(right: Float[Tensor, "sizes seeds items"]) -> Tensor:
    """For each seed the place of the size that the test itself calls best; ties go to the smaller."""
    return right.mean(-1).argmax(0)
