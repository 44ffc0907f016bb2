"""Which form of token boosting boosts? Screens variants, then confirms the best ones; writes docs/generation-study.md.

    python benchmarks/generation_study.py --budget 2h

Every finished cell is a line of benchmarks/results/generation-study.jsonl; a later run continues from them. The screen
looks at easy validation data alone, on two development seeds; the confirmation runs fresh seeds on three tasks with
the epochs of their configurations, and once more on the first one with trainings that end by easy validation data.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import generation_tables
from ensemw2s.config import ExperimentConfig, canonical_hash, load_config
from ensemw2s.errors import ModelError
from ensemw2s.forms.generation.experts import AnswerExperts
from ensemw2s.forms.generation.prepare import AnswerPrepared
from ensemw2s.forms.generation.scores import Scorer
from ensemw2s.pipeline.prepare import prepare
from ensemw2s.pipeline.run import run
from ensemw2s.pipeline.seeds.seed_work import SeedWork
from ensemw2s.storage.files import cache_home, write_atomic
from ensemw2s.storage.locks import locked
from ensemw2s.storage.store import Store

ROOT = Path(__file__).parent.parent
CELLS = ROOT / "benchmarks" / "results" / "generation-study.jsonl"
SCREEN_SEEDS = (0, 1)
CONFIRM_SEEDS = (100, 101, 102, 103, 104)
TASKS = {
    "geo-countries": "configs/tasks/geo-countries.yaml",
    "number-sorting": "configs/tasks/number-sorting.yaml",
    "openbookqa": "configs/tasks/openbookqa.yaml",
}
CONVERGED = ("geo-countries",)
"""Tasks of the phase `converged`. The others have nothing more to learn: OpenBookQA is at chance, and not even the
ceiling carries number-sorting over to longer lists."""
TO_THE_END = {"solver": "auto", "epochs": 100, "patience": 5, "schedule": "constant"}
SCREEN = "benchmarks/generation_screen.yaml"
PLAIN: dict[str, dict[str, Any]] = {
    "ensemble": {"reweight": "loss", "error_source": "train", "expert_weights": "alpha"},
    "generation": {"boost_unit": "token", "count_trivial": False, "bootstrap": False},
}
"""What a variant has where it says nothing."""
BASE = {"prior": "pretrained", "shrinkage": 0.3}
VARIANTS: dict[str, dict[str, Any]] = {
    "single": {"method": "single"},
    "independent": {"method": "independent"},
    "bagging": {"method": "bagging"},
    "paper": {"ensemble": {"prior": "pretrained", "shrinkage": 1.0}, "generation": {"count_trivial": True}},
    "paper, shrunk": {"ensemble": BASE, "generation": {"count_trivial": True}},
    "non-trivial": {"ensemble": BASE},
    "non-trivial, unigram prior": {"ensemble": {"prior": "unigram", "shrinkage": 0.3}},
    "non-trivial, resampled": {"ensemble": {**BASE, "reweight": "resample"}},
    "non-trivial, bootstrap": {"ensemble": BASE, "generation": {"bootstrap": True}},
    "non-trivial, bootstrap, equal votes": {
        "ensemble": {**BASE, "expert_weights": "equal"},
        "generation": {"bootstrap": True},
    },
    "sequence": {"ensemble": {"prior": "chance", "shrinkage": 0.5}, "generation": {"boost_unit": "sequence"}},
    "sequence, resampled": {
        "ensemble": {"prior": "chance", "shrinkage": 0.5, "reweight": "resample"},
        "generation": {"boost_unit": "sequence"},
    },
    "sequence, held-out errors": {
        "ensemble": {"prior": "chance", "shrinkage": 0.5, "error_source": "folds", "n_folds": 2},
        "generation": {"boost_unit": "sequence"},
    },
}


@dataclass(frozen=True)
class Cell:
    """One unit of the study."""

    phase: str
    task: str
    variant: str
    seed: int
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> generation_tables.Key:
        return self.phase, self.task, self.variant, self.seed

    def config(self) -> ExperimentConfig:
        path = SCREEN if self.phase == "screen" else TASKS[self.task]
        tree = load_config(ROOT / path).model_dump(mode="json")
        for part in ("ensemble", "generation"):
            tree[part] |= PLAIN[part] | VARIANTS[self.variant].get(part, {})
        tree["seeds"] = [self.seed]
        if self.phase == "converged":
            for part in ("expert_training", "student_training"):
                tree[part] |= TO_THE_END
        if self.phase == "screen":
            tree["ensemble"]["methods"] = [VARIANTS[self.variant].get("method", "boosting")]
        return ExperimentConfig.model_validate(tree)


def cells() -> Iterator[Cell]:
    """In the order of work; the confirmation's variants are known once the screen is finished."""
    screen = [Cell("screen", "geo-countries", v, s) for s in SCREEN_SEEDS for v in VARIANTS]
    yield from screen
    best = generation_tables.chosen(generation_tables.read(CELLS), VARIANTS, SCREEN_SEEDS)
    for seed in CONFIRM_SEEDS:
        for task in TASKS:
            yield from (Cell("confirm", task, v, seed) for v in best)
    for seed in CONFIRM_SEEDS:
        yield from (Cell("converged", task, v, seed) for task in CONVERGED for v in best)


def work(cell: Cell) -> dict[str, Any]:
    """The figures of one cell."""
    config = cell.config()
    started = time.monotonic()
    if cell.phase == "screen":
        figures = screened(config, cell.seed)
    else:
        folder = "study" if cell.phase == "confirm" else "study-converged"
        figures = confirmed(config, cache_home() / folder / cell.task / f"{cell.variant}-{cell.seed}")
    seconds = round(time.monotonic() - started, 1)
    about = {"phase": cell.phase, "task": cell.task, "variant": cell.variant, "seed": cell.seed}
    return about | {"config_hash": canonical_hash(config), "seconds": seconds, **figures}


def confirmed(config: ExperimentConfig, folder: Path) -> dict[str, Any]:
    """All rows of one run. Where boosting refuses to start, its rows are those of the single expert that is left."""
    refused = None
    try:
        results = run(config, folder)
    except ModelError as error:
        refused = str(error)
        tree = config.model_dump(mode="json")
        tree["ensemble"]["methods"] = [m for m in tree["ensemble"]["methods"] if m != "boosting"]
        results = run(ExperimentConfig.model_validate(tree), folder.with_name(f"{folder.name}-without-boosting"))
    rows = {
        r.key: {p: {m: f.per_seed[0] for m, f in figures.items()} for p, figures in r.parts.items()}
        for r in results.rows
    }
    if refused:
        rows |= {k.replace("single", "boosting"): v for k, v in rows.items() if "single" in k.split(":")}
    return {
        "rows": rows,
        "rounds": [r.model_dump(mode="json") for e in results.ensembles for r in e.rounds if e.method == "boosting"],
        "selected": {e.method: e.selected for e in results.ensembles},
        "recommended": results.recommendation.row,
        "refused": refused,
    }


def screened(config: ExperimentConfig, seed: int) -> dict[str, Any]:
    """One ensemble, looked at on easy validation data alone."""
    store = Store(cache_home() / "store")
    prepared = prepare(config, store, lambda model, n: None)
    assert isinstance(prepared, AnswerPrepared), "the study is of generation"
    work, experts = SeedWork(prepared, store, seed), AnswerExperts(prepared)
    method = config.ensemble.methods[0]
    pool = work.members(config.expert_training)
    for _ in work.fit_ensemble(method, pool, pool[0].trainer.prior_error()):
        pass
    ensemble = work.ensembles[method]
    val = Scorer(prepared, store).scores(experts.all_voters(ensemble), experts.easy, work.context.draw.easy_val)
    errors = [
        float((e.sample_weights * b.is_wrong).sum())
        for b, e in zip(ensemble.experts, ensemble.experts[1:], strict=False)
    ]
    return {
        "prior_error": ensemble.prior_error,
        "weighted_error": [e.weighted_error for e in ensemble.experts],
        "previous_error": errors,
        "expert_weight": [e.expert_weight for e in ensemble.experts],
        "selected": ensemble.selected,
        "val_members": [float(val.exact(w).double().mean()) for w in val.member_wrong],
        "val_together": [float(val.exact(w).double().mean()) for w in val.wrong],
        "val_log_loss": [-float(g.double().mean()) for g in val.gold],
    }


def seconds_of(text: str) -> float:
    """A budget such as 90m or 2h in seconds."""
    return float(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="2h", help="no cell is started after this time (90m, 2h)")
    parser.add_argument("--phase", choices=["screen", "confirm", "converged"], help="only this one")
    parser.add_argument("--task", choices=list(TASKS), help="only this one, so that two machines can share the work")
    parser.add_argument("--seed", type=int, action="append", help="only this one; may be given several times")
    arguments = parser.parse_args()
    stop = time.monotonic() + seconds_of(arguments.budget)
    for cell in cells():
        others = (arguments.phase not in (None, cell.phase)) or (arguments.task not in (None, cell.task))
        others |= cell.seed not in (arguments.seed or [cell.seed])
        if others or cell.key in map(generation_tables.key_of, generation_tables.read(CELLS)):
            continue
        if time.monotonic() > stop:
            print("the budget is spent; run the same command to go on")
            break
        figures = work(cell)
        with locked(CELLS):
            table = [*generation_tables.read(CELLS), figures]
            write_atomic(CELLS, generation_tables.written(table))
        print(f"{cell.phase} {cell.task} {cell.variant!r} seed {cell.seed}: {figures['seconds']:.0f} s", flush=True)
    finished = generation_tables.read(CELLS)
    page = generation_tables.page(finished, VARIANTS, SCREEN_SEEDS, CONFIRM_SEEDS, list(TASKS))
    write_atomic(ROOT / "docs" / "generation-study.md", page)


if __name__ == "__main__":
    main()
