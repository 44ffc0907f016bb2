"""Temperature scaling (Guo et al., 1706.04599): calibration by one number, fitted on held-out data."""

import math

from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from torch import Tensor

from ensemw2s.core.metrics import log_loss

LARGEST = 20.0
"""Bound of the temperature; the lower bound is its inverse."""


def apply_temperature(log_probs: Float[Tensor, "batch classes"], temperature: float) -> Float[Tensor, "batch classes"]:
    """Log-probabilities after temperature scaling: flatter for temperatures above 1, sharper below."""
    return (log_probs / temperature).log_softmax(-1)


def fit_temperature(log_probs: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]) -> float:
    """The temperature in [1/20, 20] with the least log loss."""

    def loss(log_temperature: float) -> float:
        return log_loss(apply_temperature(log_probs.double(), math.exp(log_temperature)), labels)

    bound = math.log(LARGEST)
    solution = minimize_scalar(loss, bounds=(-bound, bound), method="bounded", options={"xatol": 1e-6})
    return math.exp(float(solution.x))
