"""Label accuracy against the number of items that people answer: evaluation, so the sealed labels open."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ensemw2s.core import intervals
from ensemw2s.core.routing import ROUTERS, accuracy_by_budget, queue_order, random_by_budget, thresholds
from ensemw2s.evaluation.figures import interval_of
from ensemw2s.evaluation.routing_signals import RoutingRecord
from ensemw2s.names import BOOSTING
from ensemw2s.results import BudgetCurve, BudgetPoint

N_POINTS = 11
RANDOM = "random order"
PLAIN = "confidence"
"""The router of the three-way line, and the default of the queue."""


def curve_method(methods: Sequence[str]) -> str:
    """The ensemble method whose labels the curves are of."""
    return BOOSTING if BOOSTING in methods else methods[0]


def budget_curves(
    signals: Sequence[RoutingRecord], right: Sequence[Bool[Tensor, " _"]], checker_right: Sequence[Bool[Tensor, " _"]]
) -> tuple[BudgetCurve, ...]:
    """One curve an order: of every router, of the three ways where thresholds are known, and of chance.

    Args:
        signals: of each seed.
        right: whether each label of the seed's unlabelled items is true.
        checker_right: whether the checker's is.
    """
    per_seed = [_of_seed(*each) for each in zip(signals, right, checker_right, strict=True)]
    budgets = torch.stack([_budgets(len(r)) for r in right]).double().mean(0)
    curves: list[BudgetCurve] = []
    for order in per_seed[0]:
        found = torch.stack([curves_of[order] for curves_of in per_seed])  # [seeds, points]
        shares = [interval_of(intervals.seed_interval(each), intervals.SHARE) for each in found.T]
        points = tuple(BudgetPoint(n_people=float(n), accuracy=a) for n, a in zip(budgets, shares, strict=True))
        curves.append(BudgetCurve(order=order, method=signals[0].method, points=points))
    return tuple(curves)


def _of_seed(
    signals: RoutingRecord, right: Bool[Tensor, " items"], checker_right: Bool[Tensor, " items"]
) -> dict[str, Float[Tensor, " points"]]:
    budgets, found = _budgets(len(right)), {}
    for name, router in ROUTERS.items():
        order = queue_order(router(signals.hard), signals.hard.confidence)
        found[f"by {name}"] = accuracy_by_budget(right, order, budgets)
    if signals.trusted is not None:
        router, known = ROUTERS[PLAIN], signals.trusted
        t1 = thresholds(router(known.signals), known.right, known.checker_right).accept
        trust = router(signals.hard)
        both = torch.where(trust >= t1, right, checker_right)  # whoever people do not relieve of it
        order = queue_order(trust, signals.hard.confidence)
        found[f"three ways, by {PLAIN}"] = accuracy_by_budget(both, order, budgets)
    found[RANDOM] = random_by_budget(right, budgets)
    return found


def _budgets(n_items: int) -> Tensor:
    return torch.linspace(0, n_items, N_POINTS, dtype=torch.float64).round().long()
