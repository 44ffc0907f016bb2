"""Weak-to-strong generalization itself, row by row: the wrong labels that a student mends, the right ones it breaks.

The figures are those by which Satori (2502.02508) judges a second thought, for a student in its place.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ensemw2s.core import intervals
from ensemw2s.core.seeds import stream
from ensemw2s.evaluation.figures import interval_of
from ensemw2s.evaluation.scored import Learned, ScoredSeed
from ensemw2s.results import Condition, Interval, Mending

Spread = Callable[[Sequence[Bool[Tensor, " hard"]]], Float[Tensor, "seeds items"]]
"""What each seed says of its own items, over the items of all seeds: 0 where a seed has not got one."""


def mending_figures(seeds: Sequence[ScoredSeed], conditions: Sequence[Condition]) -> tuple[Mending, ...]:
    """Of every student whose labels' truth is known, in the order of the conditions.

    Seeds draw their unlabelled items from one pool. Seeds and groups of the pool's items are resampled, and a share is
    a ratio of two sums over the items that each seed has.
    """
    known = [c for c in conditions if all(seed.conditions[c].learned is not None for seed in seeds)]
    if not known:
        return ()
    rows, place = torch.cat([seed.hard_rows for seed in seeds]).unique(return_inverse=True)
    groups = torch.zeros_like(rows).index_copy_(0, place, torch.cat([seed.hard_groups for seed in seeds]))
    resamples = intervals.Resamples.draw(groups, len(seeds), stream(0, "interval", "hard_unlabelled"))
    places = place.split([len(seed.hard_rows) for seed in seeds])

    def spread(values: Sequence[Bool[Tensor, " hard"]]) -> Float[Tensor, "seeds items"]:
        found = torch.zeros(len(seeds), len(rows), dtype=torch.float64)
        for row, own, value in zip(found, places, values, strict=True):
            row[own] = value.double()
        return found

    return tuple(
        _mending(c.key, [each for seed in seeds if (each := seed.conditions[c].learned) is not None], spread, resamples)
        for c in known
    )


def _mending(row: str, learned: Sequence[Learned], spread: Spread, resamples: intervals.Resamples) -> Mending:
    has = spread([torch.ones_like(each.label_is_right) for each in learned])
    right, said = spread([e.label_is_right for e in learned]), spread([e.student_is_right for e in learned])

    def share(values: Tensor, counts: Tensor, limits: intervals.Range = intervals.SHARE) -> Interval | None:
        estimate = intervals.ratio_interval(values, counts, resamples)
        return None if estimate is None else interval_of(estimate, limits)

    labels_right, net = share(right, has), share(said - right, has, intervals.DIFFERENCE)
    assert labels_right is not None
    assert net is not None, "a seed has unlabelled items"
    wrong = has - right
    return Mending(
        row=row,
        labels_right=labels_right,
        mended=share(said * wrong, wrong),
        broken=share(right * (1 - said), right),
        net=net,
        n_wrong=float(wrong.sum()) / len(learned),
    )
