"""Linear classifiers at their optimum: L-BFGS in float64 on features that are whitened first.

The objective is mean_i w_i loss(W x_i, target_i) + l2/2 ||W||^2 without an intercept. With cross-entropy it is that of
scikit-learn's `LogisticRegression(C=1 / (l2 * n), fit_intercept=False)`, of two classes with C=2 / (l2 * n), because
there scikit-learn has one weight for both.

Features of language models have a few directions of very large magnitude, on which plain L-BFGS takes thousands of
steps. In the basis of their principal axes, each divided by the root of its curvature, it takes tens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Objective = Callable[[Float[Tensor, "rows classes"]], Float[Tensor, ""]]
"""Mean weighted loss of the logits of all rows; convex, and differentiable by torch."""
PENALTIES = tuple(10.0 ** (exponent / 2) for exponent in range(2, -13, -1))
"""Values of l2 that are tried, the strongest first: 10 to 1e-6 in steps of half a decade."""
PATIENCE = 3
"""After so many weaker penalties in a row that were no better, weaker ones are not tried."""
MAX_EVALUATIONS = 2000
TOLERANCE = 1e-7
"""Largest component of the gradient, in whitened coordinates, at which a fit has converged."""
SEARCH_TOLERANCE, SEARCH_EVALUATIONS = 1e-4, 200
"""The same, and the most evaluations, of a fit that only tells one penalty from the next: under a weak penalty, labels
that a linear head can separate take hundreds of steps to their optimum, which is seldom the one that is chosen."""
CURVATURE = 0.25
"""Largest second derivative of a two-class cross-entropy by its logit."""


@dataclass(frozen=True)
class LinearFit:
    """Weights at the optimum, and how the search for it ended."""

    weight: Float[Tensor, "classes features"]
    """float64."""
    l2: float
    loss: float
    """Mean weighted loss, without the penalty."""
    evaluations: int
    """Passes over all rows, each with its gradient."""
    gradient: float
    """Largest component of the gradient at the end, in whitened coordinates."""
    converged: bool


class LinearFitter:
    """Fits linear classifiers to one set of features.

    Args:
        features: read as float64; the fitter keeps one copy of that size, in another basis.
    """

    def __init__(self, features: Float[Tensor, "rows features"]):
        x = features.double()
        n, dim = x.shape
        if n < dim:  # the optimum lies in the span of the rows
            moments, left = torch.linalg.eigh(x @ x.T)
            kept = moments > max(float(moments[-1]), 1e-300) * 1e-12
            moments, left = moments[kept], left[:, kept]
            self._basis = x.T @ (left / moments.sqrt())
            self._rows = left * moments.sqrt()
        else:
            moments, self._basis = torch.linalg.eigh(x.T @ x)
            self._rows = x @ self._basis
        self._moments = moments.clamp_min(0.0) / n

    def fit(
        self,
        objective: Objective,
        n_classes: int,
        l2: float,
        start: Float[Tensor, "classes features"] | None = None,
        *,
        tolerance: float = TOLERANCE,
        most: int = MAX_EVALUATIONS,
    ) -> LinearFit:
        """The optimum of the objective with this penalty.

        Args:
            l2: above 0, or the optimum may lie at infinity.
            start: weights to begin with; None is zero.
            tolerance: largest component of the gradient at which it ends.
            most: evaluations after which it ends anyhow.
        """
        from scipy.optimize import minimize  # takes half a second to import

        scale = (CURVATURE * self._moments + l2).rsqrt()[:, None]
        shape = (len(scale), n_classes)

        def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
            free = torch.from_numpy(flat.reshape(shape)).requires_grad_()
            weights = scale * free
            loss = objective(self._rows @ weights) + 0.5 * l2 * weights.square().sum()
            (gradient,) = torch.autograd.grad(loss, free)
            return loss.item(), gradient.numpy().ravel()

        first = torch.zeros(shape, dtype=torch.float64) if start is None else (self._basis.T @ start.T) / scale
        found = minimize(
            value,
            first.numpy().ravel(),
            jac=True,
            method="L-BFGS-B",
            options={
                "maxiter": most,
                "maxfun": most,
                "maxcor": 20,
                "ftol": 0.0,
                "gtol": tolerance,
            },
        )
        weights = scale * torch.from_numpy(found.x.reshape(shape))
        with torch.no_grad():
            loss = float(objective(self._rows @ weights))
        gradient = float(np.abs(found.jac).max(initial=0.0))
        weight = (self._basis @ weights).T.contiguous()
        return LinearFit(weight, l2, loss, int(found.nfev), gradient, gradient <= 100 * tolerance)


Trial = tuple[LinearFitter, Objective, Callable[[Float[Tensor, "classes features"]], float]]
"""What is fitted, and the loss of weights on data that the fit does not see."""


def best_penalty(
    trials: Sequence[Trial], n_classes: int, penalties: Sequence[float] = PENALTIES
) -> tuple[float, float]:
    """The l2 of least loss over all trials, of equals the stronger, and that loss.

    Args:
        penalties: from strong to weak; each fit begins with the one before.
    """
    starts: list[Float[Tensor, "classes features"] | None] = [None] * len(trials)
    best, least, worse = penalties[0], float("inf"), 0
    for l2 in penalties:
        judged = 0.0
        for i, (fitter, objective, judge) in enumerate(trials):
            weight = fitter.fit(
                objective, n_classes, l2, starts[i], tolerance=SEARCH_TOLERANCE, most=SEARCH_EVALUATIONS
            ).weight
            starts[i] = weight
            judged += judge(weight)
        if judged < least:
            best, least, worse = l2, judged, 0
            continue
        worse += 1
        if worse == PATIENCE:
            break
    return best, least
