"""The table of a run from scored answers alone: no model, no file."""

import pytest
import torch

from ensemw2s.config import ExperimentConfig
from ensemw2s.core.routing import RoutingSignals
from ensemw2s.evaluation.conditions import all_conditions
from ensemw2s.evaluation.evaluate import RunFacts, evaluate
from ensemw2s.evaluation.routing_signals import RoutingRecord
from ensemw2s.evaluation.scored import GrownEnsemble, Growth, HeldOutItems, Scored, ScoredCondition, ScoredSeed
from ensemw2s.evaluation.table import Table
from ensemw2s.records import Expert
from ensemw2s.results import Cost, Interval, TaskInfo
from ensemw2s.results.conditions import AUTO, CEILING, SINGLE, STRONG_ON_EASY, ensemble, student

N = 40
CONFIG = ExperimentConfig.model_validate(
    {
        "seeds": [0, 1],
        "ensemble": {"methods": ["single", "independent", "boosting"]},
        "students": {"method": "auto", "recipes": [{}]},
    }
)
PRIMARY = CONFIG.students.recipes[0].name
SHARE = {SINGLE: 0.5, CEILING: 0.9, STRONG_ON_EASY: 0.6, student("boosting", PRIMARY): 0.7}
"""Of the items that a condition answers truly; the others 0.55."""


def first_right(share: float) -> torch.Tensor:
    return torch.arange(N) < round(share * N)


def scored_seed(seed: int, chosen=STRONG_ON_EASY, *, knows_labels: bool = True) -> ScoredSeed:
    conditions = {}
    for each in all_conditions(CONFIG.ensemble.methods, CONFIG.students):
        right = first_right(SHARE.get(each.condition, 0.55))
        figures = {"log_loss": 0.4, "brier": 0.3, "ece": 0.1}
        parts = {part: Scored(right, figures, torch.full((N,), 0.8)) for part in ("easy_val", "id_test", "ood_test")}
        cost = Cost(training_tokens=10 * (seed + 1), expert_evaluations=0, flops=1.0)
        n_experts = 3 if each.condition == ensemble("boosting") else None
        conditions[each.condition] = ScoredCondition(parts, cost, n_experts)
    conditions[AUTO] = ScoredCondition(conditions[chosen].parts, cost)
    signals = RoutingSignals(torch.rand(6), torch.rand(6), torch.rand(6))
    record = RoutingRecord(seed, "boosting", tuple("abcdef"), ("x",) * 6, (("x",),) * 6, ("x",) * 6, signals, None)
    known = torch.tensor([True, False] * 3) if knows_labels else None
    return ScoredSeed(seed, torch.arange(6), torch.arange(6), conditions, [], chosen, record, known, known, {})


@pytest.fixture
def items() -> HeldOutItems:
    groups = {part: torch.arange(N) for part in ("id_test", "ood_test")}
    difficulty = {"id_test": torch.linspace(0, 1, N), "ood_test": torch.linspace(2, 3, N)}
    return HeldOutItems(groups, {part: values.double() for part, values in difficulty.items()})


@pytest.fixture
def table(items) -> Table:
    conditions = all_conditions(CONFIG.ensemble.methods, CONFIG.students)
    return Table([scored_seed(0), scored_seed(1)], items, conditions, PRIMARY)


def test_a_row_has_the_accuracies_of_its_items_and_the_mean_cost(table):
    boosting = next(each for each in table.conditions if each.condition == ensemble("boosting"))
    row = table.row(boosting)
    assert row.parts["ood_test"]["accuracy"].per_seed == (0.55, 0.55)
    assert row.parts["ood_test"]["accuracy"].interval.mean == pytest.approx(0.55)
    assert row.parts["easy_val"]["accuracy"].interval.method == "student-t"
    assert set(row.parts["easy_val"]) == {"accuracy", "log_loss"}
    assert set(row.parts["id_test"]) == {"accuracy", "log_loss", "brier", "ece"}
    assert (row.cost.training_tokens, row.n_experts) == (15, (3, 3))


def test_differences_are_paired_item_by_item(table):
    found = {(c.row, c.baseline, c.part): c for c in table.comparisons()}
    gain = found[student("boosting", PRIMARY).key, STRONG_ON_EASY.key, "ood_test"]
    assert gain.difference.mean == pytest.approx(0.1)
    same = found["boosting", "independent", "id_test"]
    assert (same.difference.mean, same.difference.low, same.difference.high) == (0, 0, 0)


def test_auto_finds_its_rivals_by_the_recipe_of_the_headline(table):
    rivals = {c.baseline for c in table.comparisons() if c.row == AUTO.key}
    wanted = [STRONG_ON_EASY, *(student(teacher, PRIMARY) for teacher in ("single", "independent", "self"))]
    assert rivals == {condition.key for condition in wanted}


def test_the_gap_recovered_is_counted_from_the_single_expert_to_the_ceiling(table):
    found = table.pgr(student("boosting", PRIMARY))
    assert found.value.mean == pytest.approx((0.7 - 0.5) / (0.9 - 0.5))
    without = Table(table.seeds, table.items, [c for c in table.conditions if c.condition != CEILING], PRIMARY)
    assert without.pgr(STRONG_ON_EASY).value is None
    assert without.pgr(STRONG_ON_EASY).reason == "the run has no row 'ceiling'"


def test_bins_of_difficulty_hold_equally_many_items_and_their_accuracy(table):
    curve = table.difficulty(STRONG_ON_EASY)
    assert [b.n_items for b in curve.bins] == pytest.approx([2 * N / 6] * 6, abs=1)
    assert curve.bins[0].accuracy.mean == 1.0  # the first items are the easiest, and right
    assert curve.bins[-1].accuracy.mean == 0.0


def test_reliability_pools_the_seeds_on_the_hardest_test(table):
    [one] = table.reliability(STRONG_ON_EASY).bins
    assert (one.n_items, one.accuracy, one.confidence) == (2 * N, pytest.approx(0.6), pytest.approx(0.8))


def test_the_record_of_a_run_is_a_function_of_scored_answers(items):
    sizes = {"ood_test": N, "id_test": N}
    task = TaskInfo(
        name="t", source="s", difficulty_meaning="d", split_uses_labels=False, choices=("a", "b"), sizes=sizes
    )
    facts = RunFacts(config=CONFIG, versions={}, task=task, weak="weak", strong="strong", notes=("n",))
    results, tensors = evaluate(facts, [scored_seed(0), scored_seed(1)], items)
    assert results.recommendation.row == AUTO.key
    assert results.recommendation.is_baseline
    assert "against the independent ensemble's student" in " ".join(results.recommendation.details)
    assert tensors["ood_test/auto"].dtype == torch.bool
    assert tensors["ood_test/auto"].shape == (2, N)
    assert {curve.order for curve in results.budget} >= {"by confidence", "random order"}
    unknown, _ = evaluate(facts, [scored_seed(0, knows_labels=False), scored_seed(1, knows_labels=False)], items)
    assert unknown.budget == ()


def test_a_trace_tells_each_expert_alone_from_all_together(items):
    from ensemw2s.evaluation.sections.trace import trace

    weights = torch.full((4,), 0.25, dtype=torch.float64)
    experts = [
        Expert("boosting", t, t, {}, torch.zeros(1, 1), weights, torch.arange(4) < 1 + t, 0.25, 1.0, "continue", 0)
        for t in range(2)
    ]
    member = torch.stack([first_right(0.5), ~first_right(0.5)])
    growth = Growth(member, torch.stack([first_right(0.5), first_right(0.75)]), 0.1)
    grown = GrownEnsemble("boosting", 0.5, experts, 2, 1.5, {"easy_val": growth, "ood_test": growth})
    found = trace(grown, 7, "ood_test", ["weak"])
    assert (found.seed, found.selected, found.temperature, found.all_wrong) == (7, 2, 1.5, 0.1)
    assert [r.member_accuracy["ood_test"] for r in found.rounds] == [0.5, 0.5]
    assert [r.ensemble_accuracy["ood_test"] for r in found.rounds] == [0.5, 0.75]
    assert [r.previous_error for r in found.rounds] == [None, 0.25]
    assert found.error_correlation[0][1] == pytest.approx(-1.0)


def test_a_record_with_a_number_that_is_none_can_be_read_again():
    interval = Interval(mean=float("inf"), low=float("-inf"), high=float("nan"), method="made")
    read = Interval.model_validate_json(interval.model_dump_json())
    assert (read.mean, read.low) == (interval.mean, interval.low)
    assert read.high != read.high
