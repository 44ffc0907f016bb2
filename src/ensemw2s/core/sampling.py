"""Random draws: bootstrap rows, weighted rows, folds of whole groups, random subspaces, and values dealt in turn."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from ensemw2s.core.seeds import stream


def bootstrap(n: int, generator: Generator) -> Int[Tensor, " n"]:
    """n draws with replacement from n rows (bagging, Breiman 1996)."""
    return torch.randint(n, (n,), generator=generator)


def resample(sample_weights: Float[Tensor, " samples"], generator: Generator) -> Int[Tensor, " samples"]:
    """Draw as many samples as there are, with replacement and with probability D_t."""
    # Not torch.multinomial: it stops at 2^24 categories, and token-level boosting has more.
    edges = sample_weights.double().cumsum(0)
    points = torch.rand(len(sample_weights), generator=generator, dtype=torch.float64) * edges[-1]
    return torch.searchsorted(edges, points, right=True).clamp_max(len(sample_weights) - 1)


def subspace(n_dims: int, share: float | int, generator: Generator) -> Bool[Tensor, " dims"]:
    """True for a random `share` of the dimensions, at least one (random subspaces, Ho 1998)."""
    n_read = max(1, round(share * n_dims))
    return torch.zeros(n_dims, dtype=torch.bool).index_fill(
        0, torch.randperm(n_dims, generator=generator)[:n_read], True
    )


def dealt(n_values: int, position: int, seed: int) -> int:
    """Value from 0 to `n_values` - 1 at `position` of a sequence of shuffled decks that hold each value once.

    The first t positions hold every value equally often, as far as t allows, and do not depend on later ones.
    """
    deck, card = divmod(position, n_values)
    return int(torch.randperm(n_values, generator=stream(seed, "deck", deck))[card])


def group_folds(group_ids: Sequence[str], n_folds: int, generator: Generator) -> Int[Tensor, " samples"]:
    """Fold of each sample. Groups stay whole, and fold sizes are as even as the groups allow.

    Raises:
        ValueError: there are fewer groups than folds.
    """
    members: dict[str, list[int]] = {}
    for i, group in enumerate(group_ids):
        members.setdefault(group, []).append(i)
    if len(members) < n_folds:
        raise ValueError(f"{n_folds} folds need at least as many groups, got {len(members)}")
    groups = sorted(members)
    shuffled = [groups[i] for i in torch.randperm(len(groups), generator=generator).tolist()]
    folds = torch.empty(len(group_ids), dtype=torch.long)
    sizes = [0] * n_folds
    for group in sorted(shuffled, key=lambda g: -len(members[g])):  # stable: equal sizes keep the shuffled order
        smallest = sizes.index(min(sizes))
        folds[members[group]] = smallest
        sizes[smallest] += len(members[group])
    return folds


def effective_sample_size(weights: Float[Tensor, " samples"]) -> float:
    """1 / sum of squared normalised weights: N for equal weights, 1 where a single sample has all the weight."""
    share = weights.double() / weights.double().sum()
    return float(1.0 / share.square().sum())
