"""Difficulty of an example for a model that was not trained on it; larger is harder."""

from typing import Literal

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
