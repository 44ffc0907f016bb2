"""`students.method: auto`: loss, label model, selection and teacher chosen on easy data alone.

The hard labels are unknown, but some easy examples are harder than others: the rule compares the trained students by
the log-likelihood of the true answers to easy validation examples, of which the harder half counts twice, and takes the
best. Right answers would be a coarser measure: on some hundred examples most students are within its noise.
Strong-on-easy competes with them, so that weak supervision which does not help is left alone. What the choice cost is
the training of them all.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from ensemw2s.config import ExperimentConfig
from ensemw2s.evaluation import costs
from ensemw2s.pipeline.seeds.seed_work import SeedWork
from ensemw2s.results import Condition
from ensemw2s.results.conditions import AUTO, SELF, STRONG_ON_EASY, ensemble, student

HARDER = 2.0
"""What an example of the harder half counts; one of the easier half counts 1."""

Key = TypeVar("Key")


def harder_weights(difficulty: Float[Tensor, " val"]) -> Float[Tensor, " val"]:
    """All alike where no two examples differ in difficulty."""
    if len(difficulty.unique()) < 2:
        return torch.ones(len(difficulty), dtype=torch.float64)
    return torch.where(difficulty.double() >= difficulty.double().quantile(0.5), HARDER, 1.0).double()


def best(log_likelihood: Mapping[Key, Float[Tensor, " val"]], difficulty: Float[Tensor, " val"]) -> Key:
    """The candidate that finds the true answers likeliest; of equals the first.

    Args:
        log_likelihood: of each candidate, of the true answer to each easy validation example; per token in generation.
        difficulty: of these examples; larger is harder.
    """
    weights = harder_weights(difficulty)
    return max(log_likelihood, key=lambda each: float((log_likelihood[each].double() * weights).sum()))


def candidates(config: ExperimentConfig) -> dict[Condition, Condition]:
    """Strong-on-easy and every student, each with the condition whose labels it learned."""
    pairs = config.students.pairs(config.ensemble.methods)
    students = {student(t, r.name): STRONG_ON_EASY if t == SELF else ensemble(t) for t, r in pairs}
    return {STRONG_ON_EASY: STRONG_ON_EASY} | students


def choose(work: SeedWork) -> None:
    """Let the rule pick among the students of a seed; its cost is that of all candidates, each teacher counted once."""
    teachers, outcomes = candidates(work.config), work.outcomes
    likelihood = {
        condition: work.form.students.log_likelihood(work.context, outcomes[condition].voters) for condition in teachers
    }
    chosen = best(likelihood, work.prepared.split.difficulty[work.context.draw.easy_val])
    teaching = [outcomes[teacher].cost for teacher in dict.fromkeys(teachers.values())]
    learning = [costs.minus(outcomes[c].cost, outcomes[by].cost) for c, by in teachers.items() if c != by]
    work.chosen = chosen
    outcomes[AUTO] = replace(outcomes[chosen], cost=costs.total([*teaching, *learning]), n_experts=None)
