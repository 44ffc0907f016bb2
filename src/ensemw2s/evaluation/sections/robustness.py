"""What is left of each row's answers where the questions of the tests are worded otherwise."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ensemw2s.core import intervals
from ensemw2s.evaluation.figures import difference_of, interval_of, share_of, share_of_items
from ensemw2s.evaluation.table import Table
from ensemw2s.results import Condition, Figure, PerturbedTest, Robustness
from ensemw2s.results.conditions import ensemble


def robustness_figures(table: Table, tests: Sequence[PerturbedTest]) -> tuple[Robustness, ...]:
    """Of every row under every perturbation of every test; drops are paired by item and seed."""
    return tuple(_robustness(table, each.condition, test) for test in tests for each in table.conditions)


def _robustness(table: Table, condition: Condition, test: PerturbedTest) -> Robustness:
    resamples = table.resamples[test.part]
    right, drop = _right(table, condition, test), _drop(table, condition, test)
    teacher = ensemble(condition.method) if condition.kind == "student" and condition.method else None
    beyond = None
    if teacher is not None and teacher in table.present:
        beyond = interval_of(intervals.mean_interval(drop - _drop(table, teacher, test), resamples))
    return Robustness(
        row=condition.key,
        perturbation=test.perturbation,
        part=test.part,
        accuracy=Figure(
            per_seed=tuple(right.mean(1).tolist()),
            interval=share_of(right, resamples),
            over_items=share_of_items(right, resamples),
        ),
        drop=difference_of(drop, resamples),
        beyond_teacher=beyond,
    )


def _right(table: Table, condition: Condition, test: PerturbedTest) -> Float[Tensor, "seeds items"]:
    each = [seed.perturbed[test.perturbation][condition][test.part] for seed in table.seeds]
    return torch.stack(each).double()


def _drop(table: Table, condition: Condition, test: PerturbedTest) -> Float[Tensor, "seeds items"]:
    return table.right(condition, test.part) - _right(table, condition, test)
