"""Sums and means of logical costs."""

from collections.abc import Iterable

from ensemw2s.results import Cost

NOTHING = Cost(training_tokens=0, expert_evaluations=0, flops=0)


def total(costs: Iterable[Cost]) -> Cost:
    """The sum."""
    costs = list(costs)
    return Cost(
        training_tokens=sum(c.training_tokens for c in costs),
        expert_evaluations=sum(c.expert_evaluations for c in costs),
        flops=sum(c.flops for c in costs),
    )


def minus(whole: Cost, part: Cost) -> Cost:
    """What is left of a cost."""
    return Cost(**{name: value - getattr(part, name) for name, value in whole.model_dump().items()})


def mean(costs: Iterable[Cost]) -> Cost:
    """The mean over seeds."""
    costs = list(costs)
    return Cost(**{name: value / len(costs) for name, value in total(costs).model_dump().items()})
