"""Figures of the choices among drawn answers, by their number."""

from collections.abc import Mapping, Sequence

import torch

from ensemw2s.core import intervals
from ensemw2s.evaluation.figures import interval_of
from ensemw2s.evaluation.scored import SamplesRight
from ensemw2s.results import BestOfN, BestOfNPoint, Interval


def best_of_n_curves(per_seed: Sequence[Mapping[str, Sequence[SamplesRight]]]) -> tuple[BestOfN, ...]:
    """One curve for each teacher; none where not every seed's truth is known.

    Args:
        per_seed: teacher to its points, in each seed.
    """
    curves: list[BestOfN] = []
    for teacher in per_seed[0]:
        if any(teacher not in each for each in per_seed):
            continue
        found = zip(*(each[teacher] for each in per_seed), strict=True)
        points = [
            BestOfNPoint(
                n=same_n[0].n,
                judged=_share([p.judged for p in same_n]),
                majority=_share([p.majority for p in same_n]),
                any=_share([p.any for p in same_n]),
            )
            for same_n in found
        ]
        curves.append(BestOfN(teacher=teacher, points=tuple(points)))
    return tuple(curves)


def _share(per_seed: Sequence[float]) -> Interval:
    return interval_of(intervals.seed_interval(torch.tensor(per_seed, dtype=torch.float64)), intervals.SHARE)
