"""Temperature scaling (Guo et al., 1706.04599): one number that makes confidence honest on held-out easy data."""

import math

from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from torch import Tensor

from ensemw2s.core.metrics import log_loss

LARGEST = 20.0


def apply_temperature(log_probs: Float[Tensor, "batch classes"], temperature: float) -> Float[Tensor, "batch classes"]:
    """Log-probabilities of the distribution flattened (temperature above 1) or sharpened (below)."""
    return (log_probs / temperature).log_softmax(-1)


def fit_temperature(log_probs: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]) -> float:
    """The temperature in [1/20, 20] with the least log loss."""

    def loss(log_temperature: float) -> float:
        return log_loss(apply_temperature(log_probs.double(), math.exp(log_temperature)), labels)

    bound = math.log(LARGEST)
    found = minimize_scalar(loss, bounds=(-bound, bound), method="bounded", options={"xatol": 1e-6})
    return math.exp(float(found.x))
