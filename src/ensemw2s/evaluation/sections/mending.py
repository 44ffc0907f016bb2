"""Weak-to-strong generalization itself, row by row: the wrong labels that a student mends, the right ones it breaks.

The figures are those by which Satori (2502.02508) judges a second thought: for a student in its place, and for the
samples that go on from a teacher's own answer.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ensemw2s.core import intervals
from ensemw2s.core.seeds import stream
from ensemw2s.evaluation.figures import interval_of
from ensemw2s.evaluation.scored import ScoredSeed
from ensemw2s.results import Condition, Interval, Mending

BeforeAfter = tuple[Bool[Tensor, " hard"], Float[Tensor, " hard"]]
"""Of one seed's items: whether what was there first is right, and how far what took its place is."""


def mending_figures(seeds: Sequence[ScoredSeed], conditions: Sequence[Condition]) -> tuple[Mending, ...]:
    """Of every student whose labels' truth is known, beside these labels, in the order of the conditions."""
    learned = {c: [each for seed in seeds if (each := seed.conditions[c].learned) is not None] for c in conditions}
    return _figures(
        seeds,
        {
            c: [(each.label_is_right, each.student_is_right.double()) for each in of_seeds]
            for c, of_seeds in learned.items()
            if len(of_seeds) == len(seeds)
        },
    )


def restart_figures(seeds: Sequence[ScoredSeed]) -> tuple[Mending, ...]:
    """Of every teacher's samples that go on from its own answers, beside these answers, where their truth is known."""
    known = [c for c in seeds[0].restarts if all(c in seed.restarts for seed in seeds)]
    each = {c: [seed.restarts[c] for seed in seeds] for c in known}
    return _figures(seeds, {c: [(r.own_is_right, r.share_right) for r in found] for c, found in each.items()})


def _figures(seeds: Sequence[ScoredSeed], by_row: dict[Condition, list[BeforeAfter]]) -> tuple[Mending, ...]:
    """Seeds draw their unlabelled items from one pool.

    Seeds and groups of the pool's items are resampled, and a share is a ratio of two sums over the items that each seed
    has.
    """
    if not by_row:
        return ()
    rows, place = torch.cat([seed.hard_rows for seed in seeds]).unique(return_inverse=True)
    groups = torch.zeros_like(rows).index_copy_(0, place, torch.cat([seed.hard_groups for seed in seeds]))
    resamples = intervals.Resamples.draw(groups, len(seeds), stream(0, "interval", "hard_unlabelled"))
    places = place.split([len(seed.hard_rows) for seed in seeds])

    def spread(values: Sequence[Tensor]) -> Float[Tensor, "seeds items"]:
        """What each seed says of its own items, over the items of all seeds: 0 where a seed has not got one."""
        found = torch.zeros(len(seeds), len(rows), dtype=torch.float64)
        for row, own, value in zip(found, places, values, strict=True):
            row[own] = value.double()
        return found

    def mending(condition: Condition, found: Sequence[BeforeAfter]) -> Mending:
        has = spread([torch.ones_like(before) for before, _ in found])
        right, said = spread([before for before, _ in found]), spread([after for _, after in found])
        wrong = has - right

        def share(values: Tensor, counts: Tensor, limits: intervals.Range = intervals.SHARE) -> Interval | None:
            estimate = intervals.ratio_interval(values, counts, resamples)
            return None if estimate is None else interval_of(estimate, limits)

        labels_right, net = share(right, has), share(said - right, has, intervals.DIFFERENCE)
        assert labels_right is not None
        assert net is not None, "a seed has unlabelled items"
        return Mending(
            row=condition.key,
            labels_right=labels_right,
            mended=share(said * wrong, wrong),
            broken=share(right * (1 - said), right),
            net=net,
            n_wrong=float(wrong.sum()) / len(found),
        )

    return tuple(mending(condition, found) for condition, found in by_row.items())
