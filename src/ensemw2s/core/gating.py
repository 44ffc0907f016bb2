"""A gate over the members of an ensemble: which of them to believe, question by question (MoRE, 2503.08007).

    p(y|x) = sum_t g_t(x) p_t(y|x),   g(x) = softmax_t( W_t z(x) + log w_t )

z is the standardised feature of a question, w_t a member's weight in the plain vote. With W = 0 this is the soft vote.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

CERTAINTY = 1.645
"""Standard errors above 0 that a gain must be to count as shown: one-sided, 5%."""
NOISE = 1e-6
"""A smaller gain is one of rounding: that of a gate over equal members."""
MAX_EVALUATIONS = 500


@dataclass(frozen=True)
class Gate:
    """A trained gate."""

    weight: Float[Tensor, "experts dim"]
    """W, of standardised features."""
    mean: Float[Tensor, " dim"]
    scale: Float[Tensor, " dim"]
    """Standard deviation of each dimension where the gate was trained; 1 where that is 0."""

    def scores(self, features: Float[Tensor, "batch dim"]) -> Float[Tensor, "experts batch"]:
        """W_t z(x), which is added to the logarithm of each member's weight."""
        return (self.weight.double() @ _standard(features, self.mean, self.scale).T).float()


def fit_gate(
    log_probs: Float[Tensor, "experts batch classes"],
    labels: Int[Tensor, " batch"],
    features: Float[Tensor, "batch dim"],
    expert_weights: Float[Tensor, " experts"],
    *,
    l2: float,
) -> Gate:
    """The gate of least mean log loss of the true labels plus l2 |W|^2, by L-BFGS in float64 from W = 0."""
    from scipy.optimize import minimize  # takes half a second to import

    x = features.double()
    mean, deviation = x.mean(0), x.std(0, correction=0)
    scale = torch.where(deviation > 0, deviation, 1.0)
    z = _standard(x, mean, scale)
    of_truth = log_probs.double()[:, torch.arange(len(labels)), labels]
    weights = log_weights(expert_weights)[:, None]
    shape = (len(log_probs), x.shape[1])

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        free = torch.from_numpy(flat.reshape(shape)).requires_grad_()
        shares = (free @ z.T + weights).log_softmax(0)
        loss = l2 * free.square().sum() - (shares + of_truth).logsumexp(0).mean()
        (gradient,) = torch.autograd.grad(loss, free)
        return loss.item(), gradient.numpy().ravel()

    found = minimize(value, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B", options={"maxfun": MAX_EVALUATIONS})
    return Gate(torch.from_numpy(found.x.reshape(shape)), mean, scale)


def log_weights(expert_weights: Float[Tensor, " experts"]) -> Float[Tensor, " experts"]:
    """log w_t in float64. Weights that are all 0 count as equal, as in `voting.combine`."""
    weights = expert_weights.double()
    return (weights if bool(weights.any()) else torch.ones_like(weights)).log()


def gated_stages(
    log_probs: Float[Tensor, "experts batch classes"],
    expert_weights: Float[Tensor, " experts"],
    scores: Float[Tensor, "experts batch"],
) -> Iterator[Float[Tensor, "batch classes"]]:
    """Log-probabilities of the gated vote of the first t members, for t = 1..T; scores are those of `Gate.scores`."""
    members = log_probs.double()
    for t in range(1, len(members) + 1):
        shares = (log_weights(expert_weights[:t])[:, None] + scores[:t].double()).log_softmax(0)
        yield (shares[..., None] + members[:t]).logsumexp(0).log_softmax(-1).float()


def shows_gain(gain: Float[Tensor, " batch"], groups: Int[Tensor, " batch"]) -> bool:
    """Whether the sum of these gains is above 0 by `CERTAINTY` standard errors, each group of items being one draw."""
    _, place = groups.unique(return_inverse=True)
    n = int(place.max()) + 1
    if n < 2:
        return False
    by_group = torch.zeros(n, dtype=torch.float64).index_add_(0, place, gain.double())
    error = by_group.std() / n**0.5
    return float(by_group.mean()) > max(CERTAINTY * float(error), NOISE)


def _standard(features: Tensor, mean: Tensor, scale: Tensor) -> Float[Tensor, "batch dim"]:
    return (features.double() - mean.double()) / scale.double()
