"""Every condition asked the tests again, with questions that are worded otherwise."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from ensemw2s.data.perturb import PerturbedTests
from ensemw2s.evaluation.scored import PerturbedAnswers, ScoredSeed
from ensemw2s.forms.prepared import Truth
from ensemw2s.meter import Advance
from ensemw2s.pipeline.prepare import form_of
from ensemw2s.pipeline.seeds.seed_work import SeedWork
from ensemw2s.results.conditions import AUTO


def with_perturbed(
    seeds: Sequence[SeedWork], scored: Sequence[ScoredSeed], truths: Mapping[str, Truth], advance: Advance
) -> list[ScoredSeed]:
    """What each seed gives, with the answers to its perturbed tests.

    Args:
        truths: of the tests, opened.
        advance: told of each condition that was asked.
    """
    found: list[dict[str, PerturbedAnswers]] = [{} for _ in seeds]
    for tests in seeds[0].prepared.perturbed:  # one after the other: each has activations of its own
        for own, answers in zip(found, _answers(tests, seeds, scored, truths, advance), strict=True):
            own[tests.name] = answers
    return [replace(seed, perturbed=own) for seed, own in zip(scored, found, strict=True)]


def _answers(
    tests: PerturbedTests,
    seeds: Sequence[SeedWork],
    scored: Sequence[ScoredSeed],
    truths: Mapping[str, Truth],
    advance: Advance,
) -> list[PerturbedAnswers]:
    """Of each seed."""
    plain = seeds[0].prepared
    split = tests.laid_over(plain.split)
    both = enumerate(zip(split.examples, plain.split.examples, strict=True))
    changed = torch.tensor([row for row, (new, old) in both if new.prompt != old.prompt], dtype=torch.long)
    if not len(changed):
        return [
            {c: {part: s.parts[part].right for part in truths} for c, s in each.conditions.items()} for each in scored
        ]
    assert plain.on is not None, "prepared where tests are perturbed"
    scoring, found = form_of(plain.on(split)).scoring, list[PerturbedAnswers]()
    for work in seeds:
        answers: PerturbedAnswers = {}
        for condition, outcome in work.outcomes.items():
            if condition == AUTO:
                continue  # its answers are those of what was chosen
            voters = scoring.asked(work.context, outcome.voters, changed)
            answers[condition] = {
                part: scoring.score(work.context, voters, part, truth).right for part, truth in truths.items()
            }
            advance(1)
        if work.chosen is not None:
            answers[AUTO] = answers[work.chosen]
        found.append(answers)
    return found
