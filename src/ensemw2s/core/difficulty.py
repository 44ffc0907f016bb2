"""Difficulty of an example for a model that was not trained on it; larger is harder."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.core.arrays import accepts_arrays


@accepts_arrays
def uncertainty(
    log_probs: Float[Tensor, "batch classes"], kind: Literal["entropy", "margin"]
) -> Float[Tensor, " batch"]:
    """Entropy in nats, or 1 minus the margin between the two likeliest classes. No label is read."""
    if kind == "entropy":
        return -(log_probs.exp() * log_probs).sum(-1)
    top = log_probs.exp().topk(2, dim=-1).values
    return 1.0 - (top[:, 0] - top[:, 1])


@accepts_arrays
def p_true_difficulty(
    log_probs: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """1 - p(true label), by which 2410.04571 rates (not cross-fitted). It uses the labels of the hard examples, too."""
    return 1.0 - log_probs.gather(1, labels[:, None])[:, 0].exp()


@accepts_arrays
def hardest(losses: Float[Tensor, " batch"], kinds: Int[Tensor, " batch"], share: float) -> Int[Tensor, " hardest"]:
    """Places of the `share` of each kind that has the highest loss, at least one of each; the first of equal ones."""
    found: list[Tensor] = []
    for kind in kinds.unique():
        places = (kinds == kind).nonzero()[:, 0]
        n = max(1, round(share * len(places)))
        found.append(places[losses[places].argsort(descending=True, stable=True)[:n]])
    return torch.cat(found).sort().values if found else torch.empty(0, dtype=torch.long)
