"""The members of a pool of weak models: how good each is alone, and how often each ensemble took it."""

from collections.abc import Sequence

import torch

from ensemw2s.evaluation.scored import ScoredSeed
from ensemw2s.results import PoolMember


def pool_figures(names: Sequence[str], described: Sequence[str], seeds: Sequence[ScoredSeed]) -> tuple[PoolMember, ...]:
    """Of every member, in the order of the pool; none where there is one weak model."""
    if not seeds[0].alone:
        return ()
    parts = list(seeds[0].alone[0])
    ensembles = [ensemble for seed in seeds for ensemble in seed.ensembles]
    methods = list(dict.fromkeys(ensemble.method for ensemble in ensembles))
    return tuple(
        PoolMember(
            name=name,
            what=what,
            accuracy={
                p: float(torch.stack([s.alone[k][p].right.double().mean() for s in seeds]).mean()) for p in parts
            },
            taken={m: sum(x.member == k for e in ensembles if e.method == m for x in e.experts) for m in methods},
        )
        for k, (name, what) in enumerate(zip(names, described, strict=True))
    )
