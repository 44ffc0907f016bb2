"""`method: auto`: loss, label model, selection and teacher chosen on easy data alone.

The hard labels are unknown, but some easy examples are harder than others: the rule compares the trained students by
the log-likelihood of the true answers to easy validation examples, of which the harder half counts twice, and takes the
best. Right answers would be a coarser measure: on some hundred examples most students are within its noise.
Strong-on-easy competes with them, so that weak supervision which does not help is left alone. What the choice cost is
the training of them all.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from ensemw2s.config import ExperimentConfig
from ensemw2s.pipeline import cost
from ensemw2s.pipeline.generation.work import AnswerOutcome
from ensemw2s.pipeline.rows import AUTO, SeedOutcome
from ensemw2s.pipeline.students import SELF, STRONG_ON_EASY, student_key

HARDER = 2.0
"""What an example of the harder half counts; one of the easier half counts 1."""


def harder_weights(difficulty: Float[Tensor, " val"]) -> Float[Tensor, " val"]:
    """All alike where no two examples differ in difficulty."""
    if len(difficulty.unique()) < 2:
        return torch.ones(len(difficulty), dtype=torch.float64)
    return torch.where(difficulty.double() >= difficulty.double().quantile(0.5), HARDER, 1.0).double()


def best_row(log_likelihood: Mapping[str, Float[Tensor, " val"]], difficulty: Float[Tensor, " val"]) -> str:
    """The row that finds the true answers likeliest; of equals the first.

    Args:
        log_likelihood: of each candidate, of the true answer to each easy validation example; per token in words.
        difficulty: of these examples; larger is harder.
    """
    weights = harder_weights(difficulty)
    return max(log_likelihood, key=lambda row: float((log_likelihood[row].double() * weights).sum()))


def candidates(config: ExperimentConfig) -> dict[str, str]:
    """Strong-on-easy and every student, each with the row whose labels it learned."""
    pairs = config.students.pairs(config.ensemble.methods)
    taught = {student_key(t, recipe): STRONG_ON_EASY if t == SELF else t for t, recipe in pairs}
    return {STRONG_ON_EASY: STRONG_ON_EASY} | taught


def enter(outcome: SeedOutcome | AnswerOutcome, chosen: str, teachers: Mapping[str, str]) -> None:
    """Say which row `auto` stands for; its cost is that of all candidates, each teacher counted once."""
    outcome.chosen = chosen
    outcome.student_keys[AUTO] = outcome.student_keys[chosen]
    teaching = [outcome.cost[teacher] for teacher in dict.fromkeys(teachers.values())]
    learning = [cost.minus(outcome.cost[row], outcome.cost[by]) for row, by in teachers.items() if row != by]
    outcome.cost[AUTO] = cost.total([*teaching, *learning])
