"""Votes of an ensemble (EnsemW2S, 2410.04571).

soft   p(y|x) = sum_t alpha_t p_t(y|x) / sum_t alpha_t
hard   share of alpha of the experts whose argmax is y
log    p ∝ exp( sum_t alpha_t log p_t / sum_t alpha_t )
"""

from collections.abc import Iterator
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Vote = Literal["soft", "hard", "log"]
_FLOOR = 1e-12
"""Probability of a class that no expert voted for; its logarithm must stay finite for calibration and comparison."""


def combine(
    log_probs: Float[Tensor, "experts batch classes"],
    expert_weights: Float[Tensor, " experts"],
    *,
    vote: Vote = "soft",
    dtype: torch.dtype = torch.float64,
) -> Float[Tensor, "batch classes"]:
    """Log-probabilities of the experts' weighted vote. Weights that are all 0 count as equal.

    Raises:
        ValueError: a weight is negative, or there is no expert.
    """
    *_, last = staged(log_probs, expert_weights, vote=vote, dtype=dtype)
    return last


def staged(
    log_probs: Float[Tensor, "experts batch classes"],
    expert_weights: Float[Tensor, " experts"],
    *,
    vote: Vote = "soft",
    dtype: torch.dtype = torch.float64,
) -> Iterator[Float[Tensor, "batch classes"]]:
    """The vote of the first t experts for t = 1..T, from one evaluation of each.

    Only a running sum is kept, so the experts may be read one by one from a memory-mapped file. As long as all weights
    so far are 0, they count as equal. Sums are in `dtype`; over a vocabulary float32 takes half the time.

    Raises:
        ValueError: as `combine`.
    """
    weights = expert_weights.double()
    if len(weights) == 0 or bool((weights < 0).any()):
        raise ValueError(f"a vote needs at least one expert and no negative weight, got {weights.tolist()}")
    equal = torch.zeros(log_probs.shape[1:], dtype=dtype, device=log_probs.device)
    weighted = equal.clone()
    total = 0.0
    for t, (expert, weight) in enumerate(zip(log_probs, weights.tolist(), strict=True), start=1):
        ballot = _ballot(expert.to(dtype), vote)
        weighted += weight * ballot
        total += weight
        if total == 0.0:
            equal += ballot
        mean = weighted / total if total > 0.0 else equal / t
        yield (mean if vote == "log" else mean.clamp_min(_FLOOR).log()).log_softmax(-1).float()


def agreement(
    log_probs: Float[Tensor, "experts batch classes"], combined: Float[Tensor, "batch classes"]
) -> Float[Tensor, " batch"]:
    """Share of the experts whose answer is that of the vote."""
    return (log_probs.argmax(-1) == combined.argmax(-1)).float().mean(0)


def _ballot(log_probs: Float[Tensor, "batch classes"], vote: Vote) -> Float[Tensor, "batch classes"]:
    """The quantity that is averaged over experts."""
    if vote == "soft":
        return log_probs.exp()
    if vote == "log":
        return log_probs
    return torch.nn.functional.one_hot(log_probs.argmax(-1), log_probs.shape[-1]).to(log_probs.dtype)
