"""The last stage: the seals are opened, every condition's answers are held against the truth, the figures follow."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version

import torch
from torch import Tensor

from ensemw2s.data.splits import Split
from ensemw2s.evaluation import costs
from ensemw2s.evaluation.evaluate import RunFacts, evaluate
from ensemw2s.evaluation.items import Questions, shortened
from ensemw2s.evaluation.scored import VAL, GrownEnsemble, HeldOutItems, Learned, Restarted, ScoredCondition, ScoredSeed
from ensemw2s.evaluation.sections.budget import curve_method
from ensemw2s.forms.prepared import Truth
from ensemw2s.forms.role import WeakRole
from ensemw2s.meter import Advance
from ensemw2s.pipeline.notes import run_notes, samples_notes
from ensemw2s.pipeline.run_folder import PACKAGES
from ensemw2s.pipeline.seeds import routing_signals
from ensemw2s.pipeline.seeds.perturbed import with_perturbed
from ensemw2s.pipeline.seeds.seed_work import Outcome, SeedWork
from ensemw2s.pipeline.thumbnails import with_thumbnails
from ensemw2s.results import Condition, LabelledText, PerturbedTest, Results, TaskInfo
from ensemw2s.results.conditions import AUTO, SELF, STRONG_ON_EASY, ensemble


def evaluate_run(seeds: Sequence[SeedWork], advance: Advance = lambda n: None) -> tuple[Results, dict[str, Tensor]]:
    """Every figure of a run, and which test items each condition answers truly.

    Args:
        advance: told of each condition that is scored.
    """
    first, split = seeds[0], seeds[0].prepared.split
    truths: dict[str, Truth] = {part: split.sealed[part].open("evaluation") for part in split.tests}
    hard = [_hard_truth(seed) for seed in seeds]
    facts = RunFacts(
        config=first.config,
        versions={name: version(name) for name in PACKAGES},
        task=_task(first),
        weak=_described(first.prepared.pool),
        strong=first.prepared.strong.describe(),
        pool=tuple(role.describe() for role in first.prepared.pool),
        notes=(*run_notes(seeds), *samples_notes(seeds, hard)),
        samples=first.form.scoring.samples(
            first.context, first.labels, curve_method(first.config.ensemble.methods), hard[0]
        ),
        token_weights=first.form.scoring.token_weights(first.context, first.ensembles),
        perturbed=tuple(
            PerturbedTest(perturbation=tests.name, part=part, n_changed=made.n_changed, n_others=made.n_others)
            for tests in first.prepared.perturbed
            for part, made in tests.parts.items()
        ),
        questions=_questions(first, hard[0]),
    )
    scored = [_scored(seed, truths, each, advance) for seed, each in zip(seeds, hard, strict=True)]
    results, items = evaluate(facts, with_perturbed(seeds, scored, truths, advance), _items(split))
    return with_thumbnails(results, (example.prompt for example in split.examples)), items


def _scored(work: SeedWork, truths: Mapping[str, Truth], hard: Truth | None, advance: Advance) -> ScoredSeed:
    """One seed's answers, held against the truth; `hard` is that of its unlabelled questions."""
    scoring, context = work.form.scoring, work.context
    parts: dict[str, Truth | None] = {VAL: None, **truths}
    by_condition = {ensemble(method): made for method, made in work.ensembles.items()}
    by_condition |= {condition: made.ensemble for condition, made in work.merged.items()}
    tested = {condition: scoring.test_cost(context, made, truths) for condition, made in by_condition.items()}
    conditions = {}
    for condition, outcome in work.outcomes.items():
        if condition == AUTO:
            continue  # its answers are those of what was chosen
        spent = tested.get(condition, costs.NOTHING)
        conditions[condition] = ScoredCondition(
            {part: scoring.score(context, outcome.voters, part, truth) for part, truth in parts.items()},
            costs.total([outcome.cost, spent]),
            outcome.n_experts,
            outcome.ends,
            scoring.hard_answers(outcome.voters),
            _learned(work, outcome, hard),
        )
        advance(1)
    if work.chosen is not None:
        chosen, auto = conditions[work.chosen], work.outcomes[AUTO]
        conditions[AUTO] = replace(chosen, cost=auto.cost, n_experts=None, ends=auto.ends)
    ensembles = [
        GrownEnsemble(
            method,
            made.prior_error,
            made.experts,
            made.selected,
            made.temperature,
            {part: scoring.growth(context, made, part, truth) for part, truth in parts.items()},
        )
        for method, made in work.ensembles.items()
    ]
    on_easy = work.outcomes[STRONG_ON_EASY].voters
    signals = {
        method: routing_signals.keep(context, scoring.signals(context, work.labels, made, on_easy))
        for method, made in work.ensembles.items()
    }
    method = curve_method(work.config.ensemble.methods)
    shown = signals[method]
    return ScoredSeed(
        seed=work.seed,
        hard_rows=context.draw.hard_unlabelled,
        hard_groups=work.prepared.split.groups[context.draw.hard_unlabelled],
        conditions=conditions,
        ensembles=ensembles,
        chosen=work.chosen,
        signals=shown,
        labels_right=None if hard is None else scoring.right_labels(shown.answers, hard),
        checker_right=None if hard is None else scoring.right_labels(shown.checker, hard),
        restarts=_restarts(work, hard),
        pseudo_labels={} if hard is None else scoring.pseudo_labels(work.labels, hard),
        alone=[
            {part: scoring.score(context, each.outcome.voters, part, truth) for part, truth in parts.items()}
            for each in work.alone
        ],
        best_of_n={}
        if hard is None or work.judges is None
        else scoring.best_of_n(context, work.labels, work.judges, hard),
        voters=scoring.voters(context, work.labels, work.ensembles[method], hard),
    )


def _learned(work: SeedWork, outcome: Outcome, truth: Truth | None) -> Learned | None:
    """What a student learned and says of the unlabelled questions."""
    if truth is None or outcome.labels is None:
        return None
    scoring = work.form.scoring
    right = scoring.hard_right(work.context, outcome.voters, truth)
    return None if right is None else Learned(scoring.right_labels(outcome.labels, truth), right)


def _restarts(work: SeedWork, truth: Truth | None) -> dict[Condition, Restarted]:
    found = {} if truth is None else work.form.scoring.restarts(work.labels, truth)
    return {STRONG_ON_EASY if teacher == SELF else ensemble(teacher): each for teacher, each in found.items()}


def _questions(work: SeedWork, truth: Truth | None) -> Questions:
    """The seed's unlabelled questions, with their true answers in words."""
    examples, choices = work.prepared.split.examples, work.prepared.task.choices
    texts = tuple(examples[row].prompt for row in work.context.draw.hard_unlabelled.tolist())
    if isinstance(truth, Tensor):
        return Questions(texts, tuple(choices[k] for k in truth.tolist()))
    return Questions(texts, truth)


def _easy_example(work: SeedWork) -> LabelledText:
    """The first labelled example of the seed."""
    row = int(work.context.draw.easy_train[0])
    split = work.prepared.split
    return LabelledText(text=shortened(split.examples[row].prompt), label=split.easy_answers[row])


def _described(pool: Sequence[WeakRole]) -> str:
    """The weak models in words."""
    each = "; ".join(role.describe() for role in pool)
    return each if len(pool) == 1 else f"a pool of {len(pool)}: {each}"


def _hard_truth(work: SeedWork) -> Truth | None:
    """True answers to the seed's unlabelled questions, where somebody knows them."""
    split = work.prepared.split
    sealed = split.sealed.get("hard_pool")
    if sealed is None:
        return None
    return sealed.open("evaluation", work.context.draw.hard_unlabelled - split.pools["hard_pool"].start)


def _items(split: Split) -> HeldOutItems:
    rows = {part: torch.tensor(list(split.pools[part])) for part in split.tests}
    return HeldOutItems(
        {part: split.groups[each] for part, each in rows.items()},
        {part: split.difficulty[each] for part, each in rows.items()},
    )


def _task(work: SeedWork) -> TaskInfo:
    task, split, draw = work.prepared.task, work.prepared.split, work.context.draw
    sizes = {pool: len(rows) for pool, rows in split.pools.items()}
    drawn = {name: len(getattr(draw, name)) for name in ("easy_train", "easy_val", "hard_unlabelled")}
    return TaskInfo(
        name=task.name,
        source=task.source,
        difficulty_meaning=task.difficulty_meaning,
        split_uses_labels=task.split_uses_labels,
        choices=task.choices,
        sizes=sizes | drawn,
        easy_example=_easy_example(work),
    )
