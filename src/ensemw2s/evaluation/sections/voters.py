"""Figures of outside voters: how reliable each was found to be, and what they made of the labels."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ensemw2s.core import intervals
from ensemw2s.core.labels.outside import vote_weights
from ensemw2s.evaluation.figures import interval_of
from ensemw2s.evaluation.scored import ScoredVoters
from ensemw2s.results import Interval, Voter, Voters


def voter_figures(seeds: Sequence[ScoredVoters | None], method: str, n_classes: int) -> Voters | None:
    """Means over seeds; None where there are no outside voters.

    Args:
        seeds: of each seed, beside the same ensemble method.
        method: of that ensemble.
        n_classes: of the task.
    """
    known = [seed for seed in seeds if seed is not None]
    if not known:
        return None
    return Voters(
        method=method,
        voters=tuple(_voter(known, place, n_classes) for place in range(len(known[0].names))),
        coverage=float(torch.stack([seed.is_voted_on.double().mean() for seed in known]).mean()),
        models_right=_share([s.models_right.double().mean() for s in known if s.models_right is not None]),
        joined_right=_share([s.joined_right.double().mean() for s in known if s.joined_right is not None]),
    )


def _voter(seeds: Sequence[ScoredVoters], place: int, n_classes: int) -> Voter:
    n_easy, n_easy_right, n_hard = (
        float(torch.stack([getattr(seed, name)[place] for seed in seeds]).double().mean())
        for name in ("n_easy", "n_easy_right", "n_hard")
    )
    estimates = torch.stack([seed.reliability[place] for seed in seeds])
    basis: Literal["labelled examples", "agreement", "no votes"] = "no votes"
    reliability: Interval | None = None
    if n_easy:
        basis, reliability = "labelled examples", interval_of(intervals.wilson(n_easy_right, n_easy))
    elif n_hard:
        basis, reliability = "agreement", interval_of(intervals.seed_interval(estimates), intervals.SHARE)
    right = [
        seed.n_hard_right[place] / seed.n_hard[place]
        for seed in seeds
        if seed.n_hard_right is not None and seed.n_hard[place]
    ]
    return Voter(
        name=seeds[0].names[place],
        basis=basis,
        reliability=reliability,
        weight=float(vote_weights(estimates, n_classes).mean()),
        n_easy=n_easy,
        n_votes=n_hard,
        coverage=n_hard / len(seeds[0].is_voted_on),
        accuracy=_share(right),
    )


def _share(per_seed: Sequence[Tensor]) -> Interval | None:
    if not per_seed:
        return None
    return interval_of(intervals.seed_interval(torch.stack(list(per_seed)).double()), intervals.SHARE)
