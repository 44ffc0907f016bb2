"""From what every seed gives to the one typed record of figures. A pure function: no model, no file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ensemw2s.config import ExperimentConfig, canonical_hash
from ensemw2s.evaluation.choice.recommend import Outside, learns_labels, recommended_row, rival_of
from ensemw2s.evaluation.choice.verdict import Standing, details, verdict
from ensemw2s.evaluation.conditions import NamedCondition, all_conditions
from ensemw2s.evaluation.items import Questions, items_of
from ensemw2s.evaluation.scored import HeldOutItems, ScoredSeed
from ensemw2s.evaluation.sections.best_of_n import best_of_n_curves
from ensemw2s.evaluation.sections.budget import budget_curves
from ensemw2s.evaluation.sections.mending import mending_figures, restart_figures
from ensemw2s.evaluation.sections.pool import pool_figures
from ensemw2s.evaluation.sections.robustness import robustness_figures
from ensemw2s.evaluation.sections.trace import trace
from ensemw2s.evaluation.sections.voters import voter_figures
from ensemw2s.evaluation.table import Table, reliability_of
from ensemw2s.names import BOOSTING
from ensemw2s.results import (
    AnswerSample,
    BudgetCurve,
    Confusion,
    PerturbedTest,
    Recommendation,
    Reliability,
    Results,
    Row,
    TaskInfo,
    TokenWeights,
    Voters,
)
from ensemw2s.results.conditions import CEILING, SINGLE, STRONG_ON_EASY, ensemble, student


@dataclass(frozen=True)
class RunFacts:
    """What the record says of a run beside its figures."""

    config: ExperimentConfig
    versions: Mapping[str, str]
    task: TaskInfo
    weak: str
    strong: str
    notes: tuple[str, ...]
    pool: tuple[str, ...] = ()
    """Each weak model of the pool, in words."""
    samples: tuple[AnswerSample, ...] = ()
    token_weights: tuple[TokenWeights, ...] = ()
    perturbed: tuple[PerturbedTest, ...] = ()
    questions: Questions | None = None
    """The first seed's unlabelled questions."""


def evaluate(facts: RunFacts, seeds: Sequence[ScoredSeed], items: HeldOutItems) -> tuple[Results, dict[str, Tensor]]:
    """Every figure of a run with its interval over seeds and items, and which items each condition answers truly."""
    config = facts.config
    primary = config.students.recipes[0].name
    conditions = [
        each
        for each in all_conditions(config.ensemble.methods, config.students, config.ensemble.merges, config.judges)
        if each.condition in seeds[0].conditions
    ]
    table = Table(seeds, items, conditions, primary)
    rows = tuple(table.row(each) for each in conditions)
    comparisons = table.comparisons()
    n_classes = len(facts.task.choices)
    voters = voter_figures([seed.voters for seed in seeds], seeds[0].signals.method, n_classes)
    outside = _outside(config, voters, n_classes)
    chosen = recommended_row(rows, seeds, outside)
    rival = rival_of(rows, chosen, seeds, outside)
    comparisons += table.against_trivial(chosen.condition)
    auto_choices = [seed.chosen for seed in seeds if seed.chosen is not None]
    shown = _shown(table, chosen.key)
    standing = Standing(
        rows,
        chosen,
        comparisons,
        config.students.recipes[0],
        rival,
        auto_choices,
        outside,
        n_seeds=len(seeds),
        is_random_split=config.split.kind == "random",
        is_tiny=config.is_tiny,
    )
    best_seed = max(range(len(seeds)), key=lambda s: (chosen.parts["easy_val"]["accuracy"].per_seed[s], -s))
    exported = seeds[best_seed].chosen or chosen.condition
    refit_on = None
    if config.deliver.refit and learns_labels(exported, config.students.recipes):
        refit_on = facts.task.sizes["easy_pool"] + facts.task.sizes["id_test"]
    results = Results(
        name=config.name,
        config=config.model_dump(mode="json"),
        config_hash=canonical_hash(config),
        versions=dict(facts.versions),
        seeds=config.seeds,
        task=facts.task,
        weak=facts.weak,
        strong=facts.strong,
        rows=rows,
        comparisons=tuple(comparisons),
        pgr=tuple(table.pgr(each.condition) for each in conditions if each.condition.is_recommendable),
        ensembles=tuple(
            trace(grown, seed.seed, items.hardest, config.pool_names) for seed in seeds for grown in seed.ensembles
        ),
        difficulty=tuple(table.difficulty(each.condition) for each in shown if items.has_difficulty),
        reliability=_reliability(table, shown),
        recommendation=Recommendation(
            row=chosen.key,
            headline=verdict(standing),
            details=details(standing),
            is_baseline=standing.is_baseline,
            seed=seeds[best_seed].seed,
            rival=None if rival is None else rival.row.key,
            refit_on=refit_on,
        ),
        metric="exact match" if config.is_generation else "accuracy",
        budget=_budget(seeds),
        best_of_n=best_of_n_curves([seed.best_of_n for seed in seeds]),
        voters=voters,
        pool=pool_figures(config.pool_names, facts.pool, seeds),
        items=items_of(seeds[0], facts.questions, facts.task.choices, rows, standing.chosen),
        confusion=_confusion(table, shown, None if rival is None else rival.row),
        mending=mending_figures(seeds, [each.condition for each in conditions]),
        restarts=restart_figures(seeds),
        perturbed=facts.perturbed,
        robustness=robustness_figures(table, facts.perturbed),
        samples=facts.samples,
        token_weights=facts.token_weights,
        notes=(*facts.notes, *_refit_note(config.deliver.refit, refit_on)),
    )
    return results, table.tensors()


def _outside(config: ExperimentConfig, voters: Voters | None, n_classes: int) -> Outside:
    without = frozenset(recipe.name for recipe in config.students.recipes if not recipe.outside_votes)
    if voters is None:
        return Outside(0, without)
    found = [voter.reliability for voter in voters.voters if voter.reliability is not None]
    return Outside(len(voters.voters), without, any(each.low > 1 / n_classes for each in found))


def _refit_note(is_asked: bool, n_labels: int | None) -> list[str]:
    """What the exported student learned beyond the one of the figures."""
    if not is_asked:
        return []
    if n_labels is None:
        return [
            "The exported student is the one of these figures: it learned no labelled examples, so there were none to "
            "train it on once more (deliver.refit)."
        ]
    return [
        f"The exported student was trained once more, on all {n_labels:,} labelled examples, the ID test's among them, "
        "with every choice as it was made before. All figures here are those of the student before that training; "
        "this ID test cannot judge the exported one."
    ]


def _shown(table: Table, chosen: str) -> list[NamedCondition]:
    """The conditions whose curves are drawn, in this order."""
    by_condition = {each.condition: each for each in table.conditions}
    recommended = next(each.condition for each in table.conditions if each.condition.key == chosen)
    boosted = student(BOOSTING, table.primary)
    wanted = (SINGLE, ensemble(BOOSTING), STRONG_ON_EASY, boosted, recommended, CEILING)
    return [by_condition[condition] for condition in dict.fromkeys(wanted) if condition in by_condition]


def _confusion(table: Table, shown: Sequence[NamedCondition], rival: Row | None) -> tuple[Confusion, ...]:
    """Of the conditions whose curves are drawn, and of a trivial rival that is better."""
    wanted = [each.condition for each in shown] + ([] if rival is None else [rival.condition])
    found = [table.confusion(condition) for condition in wanted]
    return tuple(each for each in found if each is not None)


def _reliability(table: Table, shown: Sequence[NamedCondition]) -> tuple[Reliability, ...]:
    """Of conditions on the hardest test; in generation of the ensembles' pseudo-labels, seeds pooled."""
    conditions = [each.condition for each in shown if each.condition != CEILING]
    if all(scored.confidence is not None for c in conditions for scored in table.scored(c, table.items.hardest)):
        return tuple(table.reliability(condition) for condition in conditions)
    curves: list[Reliability] = []
    for method in table.seeds[0].pseudo_labels:
        labels = [seed.pseudo_labels[method] for seed in table.seeds]
        confidence = torch.cat([each.confidence for each in labels])
        curves.append(reliability_of(method, confidence, torch.cat([each.right for each in labels])))
    return tuple(curves)


def _budget(seeds: Sequence[ScoredSeed]) -> tuple[BudgetCurve, ...]:
    """Label accuracy against the items that people answer, where the true labels of the unlabelled items are known."""
    known = [(s.signals, s.labels_right, s.checker_right) for s in seeds]
    right = [labels for _, labels, _ in known if labels is not None]
    checker = [labels for _, _, labels in known if labels is not None]
    return budget_curves([signals for signals, _, _ in known], right, checker) if len(right) == len(seeds) else ()
