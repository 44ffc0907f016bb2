"""From sealed labels and every row's predictions to the one typed record of figures."""

from collections.abc import Sequence
from importlib.metadata import version

import torch
from torch import Tensor

from ensemw2s.config import canonical_hash
from ensemw2s.evaluation.budget import budget_curves
from ensemw2s.evaluation.recommend import headline, is_baseline, recommended_row
from ensemw2s.evaluation.table import Table, open_truth, worth_showing
from ensemw2s.evaluation.trace import trace
from ensemw2s.names import BOOSTING
from ensemw2s.pipeline.prepare import Prepared
from ensemw2s.pipeline.routing_signals import Opined
from ensemw2s.pipeline.rows import SeedOutcome, all_rows
from ensemw2s.pipeline.students import CEILING, STRONG_ON_EASY, student_key
from ensemw2s.results import (
    BudgetCurve,
    Recommendation,
    Results,
    TaskInfo,
)

PACKAGES = ("ensemw2s", "torch", "transformers", "peft", "safetensors", "scikit-learn", "scipy", "numpy")


def evaluate(
    prepared: Prepared, outcomes: Sequence[SeedOutcome], notes: Sequence[str], opined: Sequence[Opined]
) -> tuple[Results, dict[str, Tensor]]:
    """Every figure of the run, with intervals over seeds and items (algorithms, section 9), and its items' answers."""
    config = prepared.config
    truth = open_truth(prepared.split)
    table = Table(outcomes, truth)
    named = [n for n in all_rows(config.ensemble.methods, config.students) if n.key in outcomes[0].log_probs]
    rows = tuple(table.row(n) for n in named)
    comparisons = tuple(table.comparisons(named))
    chosen = recommended_row(rows)
    taken = [o.chosen for o in outcomes if o.chosen is not None]
    best_seed = max(range(len(outcomes)), key=lambda s: (chosen.parts["easy_val"]["accuracy"].per_seed[s], -s))
    shown = worth_showing(chosen.key, [n.key for n in named], student_key(BOOSTING, config.students.recipes[0]))
    sizes = {pool: len(rows_) for pool, rows_ in prepared.split.pools.items()}
    drawn = {
        "easy_train": len(outcomes[0].draw.easy_train),
        "easy_val": len(outcomes[0].draw.easy_val),
        "hard_unlabelled": len(outcomes[0].draw.hard_unlabelled),
    }
    results = Results(
        name=config.name,
        config=config.model_dump(mode="json"),
        config_hash=canonical_hash(config),
        versions={name: version(name) for name in PACKAGES},
        seeds=config.seeds,
        task=TaskInfo(
            name=prepared.task.name,
            source=prepared.task.source,
            difficulty_meaning=prepared.task.difficulty_meaning,
            split_uses_labels=prepared.task.split_uses_labels,
            choices=prepared.task.choices,
            sizes=sizes | drawn,
        ),
        weak=prepared.weak.describe(),
        strong=prepared.strong.describe(),
        rows=rows,
        comparisons=comparisons,
        pgr=tuple(table.pgr(n) for n in named if n.kind == "student" or n.key == STRONG_ON_EASY),
        ensembles=tuple(
            trace(e, o.draw.easy_val, o.val_labels, truth.rows, truth.labels)
            for o in outcomes
            for e in o.ensembles.values()
        ),
        difficulty=tuple(table.difficulty(key) for key in shown if truth.has_difficulty),
        reliability=tuple(table.reliability(key) for key in shown if key != CEILING),
        recommendation=Recommendation(
            row=chosen.key,
            headline=headline(chosen, comparisons, config, taken),
            is_baseline=is_baseline(chosen, taken),
            seed=outcomes[best_seed].seed,
        ),
        budget=_budget(prepared, outcomes, opined),
        notes=tuple(notes),
    )
    return results, table.items(named)


def _budget(prepared: Prepared, outcomes: Sequence[SeedOutcome], opined: Sequence[Opined]) -> tuple[BudgetCurve, ...]:
    """Opens the seal of the unlabelled items, where somebody knows their labels."""
    sealed, pool = prepared.split.sealed.get("hard_pool"), prepared.split.pools["hard_pool"]
    if sealed is None:
        return ()
    labels = sealed.open("evaluation")
    truths = [[prepared.task.choices[k] for k in labels[o.draw.hard_unlabelled - pool.start]] for o in outcomes]
    found = [
        [torch.tensor([a == t for a, t in zip(said, truth, strict=True)]) for said in (o.answers, o.checker)]
        for o, truth in zip(opined, truths, strict=True)
    ]
    return budget_curves(opined, [right for right, _ in found], [right for _, right in found])
