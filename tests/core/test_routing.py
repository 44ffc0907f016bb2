"""Routing by hand, against brute force and on planted truth."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemw2s.core.routing import (
    ROUTERS,
    ROUTES,
    RoutingSignals,
    Thresholds,
    accuracy_by_budget,
    queue_order,
    random_by_budget,
    routes,
    signals_of,
    thresholds,
)

T, F = True, False


def test_opinions_are_those_of_the_ensembles_own_answer():
    soft = torch.tensor([[0.9, 0.1], [0.4, 0.6]])
    member = torch.tensor([[[0.8, 0.2], [0.7, 0.3]], [[0.6, 0.4], [0.2, 0.8]]])
    own = torch.tensor([[0.3, 0.7], [0.25, 0.75]])
    found = signals_of(soft, member, own)
    assert found.confidence.tolist() == pytest.approx([0.9, 0.6])
    assert found.agreement.tolist() == [1.0, 0.5]
    assert found.checked.tolist() == pytest.approx([0.3, 0.75])


def test_every_router_trusts_one_of_the_three_opinions():
    signals = RoutingSignals(torch.tensor([0.9]), torch.tensor([0.5]), torch.tensor([0.1]))
    assert {name: float(router(signals)) for name, router in ROUTERS.items()} == pytest.approx(
        {"confidence": 0.9, "agreement": 0.5, "disagreement": 0.1}
    )


def test_thresholds_by_hand():
    trust = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    right = torch.tensor([T, T, F, T, F, F])
    checker = torch.tensor([T, T, T, T, F, F])
    # Accepted from the top: 1, 1, 2/3, 3/4, 3/5, 1/2; the checker below .6: never right.
    assert thresholds(trust, right, checker, target=0.75) == pytest.approx(Thresholds(0.6, 0.6))
    # At a target of 1 two are accepted, and the checker is right on the next two.
    found = thresholds(trust, right, checker, target=1)
    assert found == pytest.approx(Thresholds(0.8, 0.6))
    assert [ROUTES[k] for k in routes(trust, found).tolist()] == [
        "accept", "accept", "check", "check", "person", "person",
    ]  # fmt: skip
    # Left out, the target is the checker's own share, 2/3: a trust of .6 reaches it.
    assert thresholds(trust, right, checker).accept == pytest.approx(0.6)


def test_where_nothing_reaches_the_target_everything_goes_to_people():
    trust, never = torch.tensor([0.9, 0.5]), torch.tensor([F, F])
    found = thresholds(trust, never, never, target=0.5)
    assert found == Thresholds(math.inf, math.inf)
    assert routes(trust, found).tolist() == [2, 2]


def test_examples_of_equal_trust_are_taken_together():
    trust = torch.tensor([0.5, 0.5, 0.5])
    assert thresholds(trust, torch.tensor([T, F, F]), torch.tensor([F, F, F]), target=0.5).accept == math.inf


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.booleans()), min_size=1, max_size=12),
    target=st.sampled_from([0.3, 0.5, 0.75, 1.0]),
)
def test_thresholds_are_those_of_a_search_through_all(rows, target):
    trust = torch.tensor([r[0] / 5 for r in rows])
    right, checker = torch.tensor([r[1] for r in rows]), torch.tensor([r[2] for r in rows])

    def lowest(inside, who):
        reach = [v for v in trust[inside].tolist() if who[inside & (trust >= v)].double().mean() >= target - 1e-12]
        return min(reach, default=math.inf)

    found = thresholds(trust, right, checker, target=target)
    accept = lowest(torch.ones_like(right), right)
    assert found.accept == accept
    assert found.check == min(accept, lowest(trust < accept, checker))


def test_the_queue_begins_with_the_least_trusted_and_breaks_ties_by_confidence_then_place():
    trust = torch.tensor([0.5, 0.2, 0.5, 0.5])
    assert queue_order(trust, torch.tensor([0.9, 0.8, 0.6, 0.6])).tolist() == [1, 2, 3, 0]


def test_accuracy_by_budget_by_hand_and_its_mean_over_all_orders():
    right = torch.tensor([T, F, F, T])
    budgets = torch.tensor([0, 1, 2, 4])
    assert accuracy_by_budget(right, torch.tensor([1, 0, 2, 3]), budgets).tolist() == [0.5, 0.75, 0.75, 1.0]
    orders = [torch.randperm(4, generator=torch.Generator().manual_seed(i)) for i in range(3000)]
    mean = torch.stack([accuracy_by_budget(right, order, budgets) for order in orders]).mean(0)
    assert mean.tolist() == pytest.approx(random_by_budget(right, budgets).tolist(), abs=0.01)


def test_with_honest_confidence_the_queue_beats_chance_and_thresholds_keep_their_word():
    generator = torch.Generator().manual_seed(0)
    trust = 0.5 + 0.5 * torch.rand(20000, generator=generator)
    right = torch.rand(20000, generator=generator) < trust  # right as often as it says
    checker = torch.rand(20000, generator=generator) < 0.8
    found = thresholds(trust[:10000], right[:10000], checker[:10000], target=0.8)
    # Accepted above t1 the mean trust is (1 + t1) / 2 = .8; the checker reaches .8 about everywhere.
    assert found.accept == pytest.approx(0.6, abs=0.03)
    test = slice(10000, None)
    accepted = routes(trust[test], found) == 0
    assert float(right[test][accepted].double().mean()) == pytest.approx(0.8, abs=0.02)
    budgets = torch.tensor([2000, 5000])
    by_queue = accuracy_by_budget(right[test], queue_order(trust[test], trust[test]), budgets)
    assert (by_queue > random_by_budget(right[test], budgets) + 0.02).all()
