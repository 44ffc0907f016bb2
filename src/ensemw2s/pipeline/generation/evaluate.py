"""From sealed answers and every row's scores to the one typed record of figures."""

from collections.abc import Sequence
from importlib.metadata import version

import torch
from jaxtyping import Int
from torch import Tensor

from ensemw2s.config import canonical_hash
from ensemw2s.evaluation.budget import budget_curves
from ensemw2s.evaluation.recommend import headline, is_baseline, recommended_row
from ensemw2s.evaluation.table import open_truth, worth_showing
from ensemw2s.forms.generation.prepare import AnswerPrepared
from ensemw2s.names import BOOSTING
from ensemw2s.pipeline.evaluate import PACKAGES
from ensemw2s.pipeline.generation.stages import AnswerSeed
from ensemw2s.pipeline.generation.table import AnswerTable
from ensemw2s.pipeline.generation.work import Voters
from ensemw2s.pipeline.routing_signals import Opined
from ensemw2s.pipeline.rows import ZERO_SHOT, all_rows
from ensemw2s.pipeline.students import SELF, STRONG_ON_EASY, student_key
from ensemw2s.results import (
    AnswerSample,
    BudgetCurve,
    Recommendation,
    Results,
    TaskInfo,
    TokenShare,
    TokenWeights,
)

N_SAMPLES = 8
N_TOKENS = 8


def evaluate_answers(
    prepared: AnswerPrepared, seeds: Sequence[AnswerSeed], notes: Sequence[str], opined: Sequence[Opined]
) -> tuple[Results, dict[str, Tensor]]:
    """Every figure of a generation run, with intervals over seeds and items (algorithms, section 9)."""
    config = prepared.config
    truth = open_truth(prepared.split)
    for seed in seeds:
        seed.outcome.voters[ZERO_SHOT] = Voters(prepared.strong, (), (), torch.ones(1))
    table = AnswerTable(prepared, seeds, truth)
    outcome = seeds[0].outcome
    named = [n for n in all_rows(config.ensemble.methods, config.students) if n.key in outcome.voters]
    rows = tuple(table.row(n) for n in named)
    comparisons = tuple(table.comparisons(named))
    chosen = recommended_row(rows)
    taken = [o.outcome.chosen for o in seeds if o.outcome.chosen is not None]
    best = max(range(len(seeds)), key=lambda s: (chosen.parts["easy_val"]["accuracy"].per_seed[s], -s))
    primary = config.students.recipes[0]
    shown = worth_showing(chosen.key, [n.key for n in named], student_key(BOOSTING, primary))
    draw = seeds[0].draw
    sizes = {pool: len(pool_rows) for pool, pool_rows in prepared.split.pools.items()}
    drawn = {name: len(getattr(draw, name)) for name in ("easy_train", "easy_val", "hard_unlabelled")}
    has_truth = "hard_pool" in prepared.split.sealed
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
            choices=(),
            sizes=sizes | drawn,
        ),
        weak=prepared.weak.describe(),
        strong=prepared.strong.describe(),
        rows=rows,
        comparisons=comparisons,
        pgr=tuple(table.pgr(n) for n in named if n.kind == "student" or n.key == STRONG_ON_EASY),
        ensembles=tuple(table.trace(s, e) for s in seeds for e in s.outcome.ensembles.values()),
        difficulty=tuple(table.difficulty(key) for key in shown if truth.has_difficulty),
        reliability=tuple(table.reliability_of_labels(m) for m in outcome.ensembles if has_truth),
        recommendation=Recommendation(
            row=chosen.key,
            headline=headline(chosen, comparisons, config, taken),
            is_baseline=is_baseline(chosen, taken),
            seed=seeds[best].seed,
        ),
        budget=_budget(table, seeds, opined) if has_truth else (),
        metric="exact match",
        samples=_samples(prepared, table, seeds[0], has_truth),
        token_weights=_token_weights(prepared, seeds[0]),
        notes=tuple(notes),
    )
    return results, table.items(named)


def _budget(table: AnswerTable, seeds: Sequence[AnswerSeed], opined: Sequence[Opined]) -> tuple[BudgetCurve, ...]:
    right = [[table.pseudo_right(s, teacher) for s in seeds] for teacher in (opined[0].method, SELF)]
    return budget_curves(opined, *right)


def _samples(
    prepared: AnswerPrepared, table: AnswerTable, seed: AnswerSeed, has_truth: bool
) -> tuple[AnswerSample, ...]:
    """The first questions on which the members differ, then others."""
    method = BOOSTING if BOOSTING in seed.outcome.ensembles else next(iter(seed.outcome.ensembles))
    pseudo = seed.outcome.pseudo[method]
    truths = table.hard_truths(seed) if has_truth else None
    right = table.pseudo_right(seed, method) if has_truth else None
    order = sorted(range(len(pseudo.texts)), key=lambda i: (len(set(pseudo.record["labels"][i]["members"])) == 1, i))
    return tuple(
        AnswerSample(
            question=prepared.split.examples[int(seed.draw.hard_unlabelled[i])].prompt,
            truth=None if truths is None else truths[i],
            answer=pseudo.texts[i],
            members=tuple(pseudo.record["labels"][i]["members"]),
            is_right=None if right is None else bool(right[i]),
            tokens=tuple(pseudo.record["labels"][i]["tokens"]),
            probabilities=tuple(float(torch.tensor(p).exp()) for p in pseudo.record["labels"][i]["token_log_probs"]),
        )
        for i in order[:N_SAMPLES]
    )


def _token_weights(prepared: AnswerPrepared, seed: AnswerSeed) -> tuple[TokenWeights, ...]:
    """The kinds of token that gained most weight, round by round."""
    ensemble = seed.outcome.ensembles.get(BOOSTING)
    if ensemble is None or prepared.config.generation.boost_unit != "token":
        return ()
    answers, counted = seed.easy["weak"], seed.outcome.counted
    assert counted is not None
    tokens = answers.tokens_of(seed.draw.easy_train)
    kinds: Int[Tensor, " samples"] = answers.targets[tokens[counted[tokens]]]
    tokenizer = prepared.weak.backbone.tokenizer
    out = []
    for expert in ensemble.experts:
        n = int(kinds.max()) + 1
        share = torch.zeros(n, dtype=torch.float64).index_add_(0, kinds, expert.sample_weights)
        uniform = torch.bincount(kinds, minlength=n).double() / len(kinds)
        top = (share - uniform).argsort(descending=True, stable=True)[:N_TOKENS].tolist()
        out.append(
            TokenWeights(
                seed=seed.seed,
                round=expert.round,
                tokens=tuple(
                    TokenShare(token=str(tokenizer.decode([k])), share=float(share[k]), uniform=float(uniform[k]))
                    for k in top
                    if uniform[k] > 0
                ),
            )
        )
    return tuple(out)
