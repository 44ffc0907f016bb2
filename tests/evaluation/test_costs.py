"""Sums of logical costs."""

from ensemw2s.evaluation.costs import NOTHING, mean, minus, total
from ensemw2s.results import Cost

ONE = Cost(training_tokens=10, expert_evaluations=4, flops=100.0)
TWO = Cost(training_tokens=1, expert_evaluations=2, flops=3.0)


def test_costs_add_up_and_take_away_field_by_field():
    assert total([ONE, TWO, NOTHING]) == Cost(training_tokens=11, expert_evaluations=6, flops=103.0)
    assert minus(total([ONE, TWO]), TWO) == ONE
    assert total([]) == NOTHING


def test_the_mean_is_over_seeds():
    assert mean([ONE, TWO]) == Cost(training_tokens=5.5, expert_evaluations=3, flops=51.5)
