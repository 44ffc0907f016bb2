"""One boosting round (EnsemW2S, 2410.04571; AdaBoost, Freund & Schapire 1997; SAMME, Zhu et al. 2009).

    weighted_error   eps   = sum_i D_t[i] * wrong[i]
    expert_weight    alpha = log((1 - eps) / eps) + log(prior / (1 - prior))
    new weights      D_{t+1}[i] ∝ D_t[i] * exp(nu * alpha * wrong[i])

`prior` is the error rate of a reference classifier that alpha is measured against. The three methods differ only in it:

    AdaBoost   1/2, two classes (the ½·log form scales every alpha alike: same votes, same weights)
    SAMME      1 - 1/K: the second term is log(K - 1)
    EnsemW2S   the pretrained model's own error: an effective number of classes 1 / (1 - prior)

As long as nu = 1 and alpha is not capped, the expert's error under D_{t+1} is exactly `prior`.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ensemw2s.core.arrays import accepts_arrays
from ensemw2s.names import Outcome


class BoostRound(NamedTuple):
    """Result of one boosting round."""

    weighted_error: float
    """eps, in [0, 1]."""
    expert_weight: float
    """alpha in nats, capped, before shrinkage; 0 where the expert is no better than the prior."""
    sample_weights: Float[Tensor, " samples"]
    """D_{t+1} in float64, sums to 1; D_t where the outcome ends boosting."""
    outcome: Outcome


def chance_error(n_classes: int) -> float:
    """The error of a uniform guess, 1 - 1/K: the prior of AdaBoost (K = 2) and SAMME."""
    return 1.0 - 1.0 / n_classes


@accepts_arrays
def boost_round(
    is_wrong: Bool[Tensor, " samples"],
    sample_weights: Float[Tensor, " samples"],
    *,
    prior_error: float,
    shrinkage: float = 1.0,
    max_expert_weight: float = math.inf,
) -> BoostRound:
    """Compute the weight of an expert from its errors, and the next round's sample weights.

    Args:
        is_wrong: whether the expert's answer differs from the truth.
        sample_weights: D_t, non-negative, summing to 1.
        prior_error: in (0, 1).
        shrinkage: nu in (0, 1], applied to the sample weights, not to the vote.
        max_expert_weight: cap of alpha in nats, which a perfect expert gets (infinity without a cap).

    Raises:
        ValueError: an argument is outside its range.
    """
    weights = sample_weights.double()
    if not 0.0 < prior_error < 1.0:
        raise ValueError(f"prior_error must lie in (0, 1), got {prior_error}")
    if not 0.0 < shrinkage <= 1.0 or max_expert_weight <= 0.0:
        raise ValueError(f"shrinkage must lie in (0, 1] and the cap above 0, got {shrinkage} and {max_expert_weight}")
    if bool((weights < 0).any()) or abs(float(weights.sum()) - 1.0) > 1e-6:
        raise ValueError(f"sample_weights must be non-negative and sum to 1, got a sum of {float(weights.sum())}")

    error = float(weights[is_wrong].sum())
    if error <= 0.0:
        return BoostRound(0.0, max_expert_weight, weights, "perfect")
    if error >= prior_error:
        return BoostRound(error, 0.0, weights, "no_better_than_prior")
    alpha = math.log((1.0 - error) / error) + math.log(prior_error / (1.0 - prior_error))
    alpha = min(alpha, max_expert_weight)
    raised = torch.where(is_wrong, weights * math.exp(shrinkage * alpha), weights)
    return BoostRound(error, alpha, raised / raised.sum(), "continue")
