"""Pairs that judges doubt: turned round, softened, or learned with a margin (2401.06080), where easy pairs allow it.

With mu the judges' mean margin of a pair (its chosen answer's score minus its rejected one's, in standard deviations):

    flip     of all pairs, the `share` with the lowest mu below 0: their answers change places, and mu its sign
    soften   the other pairs with mu < 0 are the right way round with probability P = s(mu), s the logistic function
    margin   pairs with mu > 0 are learned with a margin that grows with mu

The guard chooses the share: the one of 0, 0.1, 0.2 that leaves the fewest reversed pairs among pairs whose truth is
known, at ties the smaller. Where it is 0, nothing shows that the judges know better than the pairs: none is changed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ensemw2s.core.metrics import auroc

SHARES = (0.0, 0.1, 0.2)
"""Of pairs that are turned round, among which the guard chooses; the paper's is the last."""


def mean_margin(margins: Float[Tensor, "judges pairs"]) -> Float[Tensor, " pairs"]:
    """The judges' mean margin of each pair, every judge's over its root mean square: their scales are their own."""
    spread = margins.double().square().mean(1, keepdim=True).sqrt()
    return (margins.double() / torch.where(spread > 0, spread, 1.0)).mean(0)


class Denoised(NamedTuple):
    """What becomes of some pairs."""

    is_flipped: Bool[Tensor, " pairs"]
    """Whether the answers change places."""
    probability: Float[Tensor, " pairs"]
    """That a pair is the right way round, after that."""
    margin: Float[Tensor, " pairs"]
    """The judges' mean margin, after that: below 0 where they still doubt a pair."""


def denoise(mean: Float[Tensor, " pairs"], share: float) -> Denoised:
    """Change the pairs that judges doubt.

    Args:
        mean: margin of the judges, in standard deviations.
        share: of pairs that are turned round at most; with 0 nothing is changed and no pair is doubted.
    """
    if share == 0.0:
        return Denoised(
            torch.zeros_like(mean, dtype=torch.bool),
            torch.ones_like(mean),
            torch.zeros_like(mean),
        )
    is_flipped = lowest(mean, share)
    margin = torch.where(is_flipped, -mean, mean)
    return Denoised(is_flipped, torch.where(margin < 0.0, margin.sigmoid(), 1.0), margin)


def lowest(mean: Float[Tensor, " pairs"], share: float) -> Bool[Tensor, " pairs"]:
    """The `share` of pairs with the lowest margins, of equals the earlier, without those that the judges find right."""
    n = int(share * len(mean) + 1e-9)  # the tolerance lets a tenth of ten be one, whatever the rounding
    found = torch.zeros_like(mean, dtype=torch.bool)
    found[mean.argsort(stable=True)[:n]] = True
    return found & (mean < 0.0)


class Guard(NamedTuple):
    """What easy pairs say of the judges."""

    share: float
    """Of pairs to turn round."""
    n_reversed: tuple[int, ...]
    """Easy pairs that are the wrong way round after each share of `SHARES`."""
    n_pairs: int
    """Easy pairs of a right and a wrong answer: those whose order is known."""
    auroc: float | None
    """How well low margins find the reversed ones; None where none or all of them are."""


def guard(
    mean: Float[Tensor, " pairs"], is_reversed: Bool[Tensor, " pairs"], shares: Sequence[float] = SHARES
) -> Guard:
    """The share of pairs to turn round by pairs whose order is known; `shares` ascend."""
    left = tuple(int((is_reversed ^ lowest(mean, share)).sum()) for share in shares)
    found = None
    if 0 < int(is_reversed.sum()) < len(is_reversed):
        found = auroc(torch.stack([mean, -mean], dim=1) / 2.0, is_reversed.long())
    return Guard(shares[left.index(min(left))], left, len(is_reversed), found)
