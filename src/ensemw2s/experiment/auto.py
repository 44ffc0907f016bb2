"""`method: auto`: loss, label model, selection and teacher chosen on easy data alone.

The hard labels are unknown, but some easy examples are harder than others: the rule compares the trained students on
easy validation examples with more weight on the harder ones, and takes the best. Strong-on-easy competes with them, so
that weak supervision which does not help is left alone. What the choice cost is the training of them all.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ensemw2s.config import ExperimentConfig
from ensemw2s.experiment import cost
from ensemw2s.experiment.rows import AUTO, SeedOutcome
from ensemw2s.experiment.students import SELF, STRONG_ON_EASY, student_key
from ensemw2s.experiment.words.work import AnswerOutcome


def harder_weights(difficulty: Float[Tensor, " val"]) -> Float[Tensor, " val"]:
    """Weight 0 for the easier half and 1 for the harder one; all alike where no two differ."""
    if len(difficulty.unique()) < 2:
        return torch.ones(len(difficulty), dtype=torch.float64)
    return (difficulty.double() >= difficulty.double().median()).double()


def best_row(right: Mapping[str, Bool[Tensor, " val"]], difficulty: Float[Tensor, " val"]) -> str:
    """The row with most right answers among the harder examples; ties go to more in all, then to the first row.

    Args:
        right: of each candidate, which easy validation examples it answers truly.
        difficulty: of these examples; larger is harder.
    """
    weights = harder_weights(difficulty)

    def score(row: str) -> tuple[float, float]:
        found = right[row].double()
        return float((found * weights).sum()), float(found.sum())

    return max(right, key=score)


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
