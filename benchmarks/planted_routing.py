"""Orders of asking people on planted truth: how right the labels are after some were answered.

    python benchmarks/planted_routing.py [--seeds 12]

The plants are those of planted.py and `uneven`. The easiest 300 of the labelled examples (far from the plane) stand
for easy data: a linear checker learns the truth of 100, thresholds are selected on the other 200. People answer a share
of the other 1200 truly, in each router's order, in three ways, or at random. Intervals are Student-t over seeds.
"""

import argparse

import torch
from torch.nn.functional import one_hot

from ensemw2s.core.intervals import seed_interval
from ensemw2s.core.losses import CrossEntropy, WeakBatch
from ensemw2s.core.routing import (
    ROUTERS,
    Trusted,
    accuracy_by_budget,
    queue_order,
    random_by_budget,
    routes,
    signals_of,
    thresholds,
)
from planted import PLANTS, N, planted, shown, student

KINDS = (*PLANTS, "uneven")
SHARES = (0.0, 0.1, 0.2, 0.4)
N_EASY = 300


def curves(seed: int, kind: str) -> dict[str, torch.Tensor]:
    """Order to the share of right labels at every budget, in %, and the shares of the three routes."""
    plant = planted(seed, kind)
    by_ease = plant.difficulty[:N].argsort()
    easy, hard = by_ease[:N_EASY], by_ease[N_EASY:]
    learned, known = easy[::3], easy[torch.arange(N_EASY) % 3 != 0]
    truth = plant.truth[:N]
    lesson = WeakBatch(soft=one_hot(truth[learned], 2).float())
    own = student(plant, lesson, learned, CrossEntropy(), seed)[:N].exp()
    signals = {n: signals_of(plant.soft[r], plant.member[:, r], own[r]) for n, r in (("val", known), ("hard", hard))}
    right, checker_right = (said.argmax(-1) == truth for said in (plant.soft, own))
    trusted = Trusted(signals["val"], right[known], checker_right[known])
    budgets = (torch.tensor(SHARES) * len(hard)).round().long()
    found = {}
    for name, router in ROUTERS.items():
        trust = router(signals["hard"])
        order = queue_order(trust, signals["hard"].confidence)
        found[f"by {name}"] = 100 * accuracy_by_budget(right[hard], order, budgets)
        bands = thresholds(router(trusted.signals), trusted.right, trusted.checker_right)
        three = torch.where(routes(trust, bands) == 0, right[hard], checker_right[hard])
        found[f"three ways, by {name}"] = 100 * accuracy_by_budget(three, order, budgets)
    return found | {"random": 100 * random_by_budget(right[hard], budgets)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=12)
    n_seeds = parser.parse_args().seeds
    for kind in KINDS:
        drawn = [curves(seed, kind) for seed in range(n_seeds)]
        print(f"\n| {kind} | " + " | ".join(f"{share:.0%} asked" for share in SHARES) + " |")
        print("|" + "---|" * (len(SHARES) + 1))
        for order in drawn[0]:
            values = torch.stack([each[order] for each in drawn])
            print(f"| {order} | {' | '.join(shown(seed_interval(column), '') for column in values.T)} |")


if __name__ == "__main__":
    main()
