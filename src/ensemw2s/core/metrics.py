"""Metrics of one set of predictions against the true labels."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from sklearn.metrics import cohen_kappa_score, roc_auc_score
from torch import Tensor
from torch.nn.functional import one_hot

from ensemw2s.core.arrays import accepts_arrays
from ensemw2s.core.intervals import SHARE, Range


@accepts_arrays
def accuracy(log_probs: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]) -> float:
    """Share of examples whose likeliest class is the true one."""
    return float((log_probs.argmax(-1) == labels).double().mean())


@accepts_arrays
def balanced_accuracy(log_probs: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]) -> float:
    """Mean recall over the classes that occur, so that every class counts equally.

    Where nine of ten labels are 0 and all predictions are 0, accuracy is 0.9 and balanced accuracy (1 + 0) / 2.
    """
    right = (log_probs.argmax(-1) == labels).double()
    return float(torch.stack([right[labels == k].mean() for k in labels.unique()]).mean())


@accepts_arrays
def confusion(
    log_probs: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]
) -> Int[Tensor, "classes classes"]:
    """Number of examples of each true class (row) that each class (column) is predicted for."""
    k = log_probs.shape[1]
    return torch.bincount(labels * k + log_probs.argmax(-1), minlength=k * k).reshape(k, k)


@accepts_arrays
def macro_f1(log_probs: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]) -> float:
    """Mean over the classes, true or predicted, of the harmonic mean of precision and recall."""
    counts = confusion(log_probs, labels).double()
    occurs = counts.sum(0) + counts.sum(1)
    return float((2.0 * counts.diagonal() / occurs)[occurs > 0].mean())


@accepts_arrays
def log_loss(log_probs: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]) -> float:
    """Mean negative log-probability of the truth, in nats."""
    return -float(log_probs.double().gather(1, labels[:, None]).mean())


@accepts_arrays
def brier(log_probs: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]) -> float:
    """Mean over examples of the squared distance to the one-hot truth, summed over classes: 0 to 2."""
    truth = one_hot(labels, log_probs.shape[1]).double()
    return float((log_probs.double().exp() - truth).square().sum(-1).mean())


@accepts_arrays
def auroc(log_probs: Float[Tensor, "batch 2"], labels: Int[Tensor, " batch"]) -> float:
    """Probability that a random example of class 1 scores above one of class 0; ties count half.

    Raises:
        ValueError: only one class is present.
    """
    if len(labels.unique()) < 2:
        raise ValueError("auroc needs both classes among the labels")
    return float(roc_auc_score(labels.numpy(), (log_probs[:, 1] - log_probs[:, 0]).double().numpy()))


class Bin(NamedTuple):
    """One bin of a reliability diagram."""

    confidence: float
    """Mean probability of the likeliest class."""
    accuracy: float
    n_items: int


@accepts_arrays
def reliability_bins(
    log_probs: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"], *, n_bins: int = 10
) -> list[Bin]:
    """Reliability diagram: bins of equal width over confidence in (0, 1], without the empty ones."""
    top = log_probs.double().exp().max(-1)
    return confidence_bins(top.values, top.indices == labels, n_bins=n_bins)


@accepts_arrays
def confidence_bins(
    confidence: Float[Tensor, " batch"], is_right: Bool[Tensor, " batch"], *, n_bins: int = 10
) -> list[Bin]:
    """`reliability_bins` from confidence and correctness, for generation, which has no classes."""
    right = is_right.double()
    which = (confidence * n_bins).ceil().long().clamp(1, n_bins) - 1
    bins: list[Bin] = []
    for b in which.unique().tolist():
        inside = which == b
        bins.append(Bin(float(confidence[inside].mean()), float(right[inside].mean()), int(inside.sum())))
    return bins


@accepts_arrays
def ece(log_probs: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"], *, n_bins: int = 10) -> float:
    """Expected calibration error (Naeini et al. 2015): mean gap between confidence and accuracy over the bins."""
    bins = reliability_bins(log_probs, labels, n_bins=n_bins)
    return sum(b.n_items * abs(b.confidence - b.accuracy) for b in bins) / len(labels)


@accepts_arrays
def error_correlation(is_wrong: Bool[Tensor, "experts batch"]) -> Float[Tensor, "experts experts"]:
    """Pearson correlation of the experts' errors; an expert whose errors do not vary correlates 0 with the others."""
    centred = is_wrong.double() - is_wrong.double().mean(1, keepdim=True)
    norm = centred.norm(dim=1)
    scaled = centred / torch.where(norm > 0, norm, 1.0)[:, None]
    correlation = scaled @ scaled.T
    correlation.fill_diagonal_(1.0)
    return correlation


@accepts_arrays
def all_wrong_share(predictions: Int[Tensor, "experts batch"], labels: Int[Tensor, " batch"]) -> float:
    """Share of examples on which all experts give the same wrong answer, which no vote can correct."""
    same = (predictions == predictions[0]).all(0)
    return float((same & (predictions[0] != labels)).double().mean())


@accepts_arrays
def quadratic_kappa(log_probs: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]) -> float:
    """Quadratic weighted kappa of ordered classes (Cohen 1968): 1 - sum w O / sum w E, w_ij = (i - j)^2.

    O counts true class i answered as j, E what chance would give with the same margins. 1 where all are right, 0 where
    one class is given to everything.

    Raises:
        ValueError: only one class is present.
    """
    if len(labels.unique()) < 2:
        raise ValueError("quadratic_kappa needs two classes or more among the labels")
    given = log_probs.argmax(-1)
    return float(
        cohen_kappa_score(labels.numpy(), given.numpy(), labels=range(log_probs.shape[1]), weights="quadratic")
    )


@accepts_arrays
def class_distance(log_probs: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]) -> float:
    """By how many classes the likeliest of ordered classes is off, on average."""
    return float((log_probs.argmax(-1) - labels).abs().double().mean())


RANGES: dict[str, Range] = {
    "accuracy": SHARE,
    "balanced_accuracy": SHARE,
    "macro_f1": SHARE,
    "auroc": SHARE,
    "ece": SHARE,
    "token_error": SHARE,
    "quadratic_kappa": (-1.0, 1.0),
    "class_distance": (0.0, math.inf),
    "brier": (0.0, 2.0),
    "log_loss": (0.0, math.inf),
}
"""Range of each metric by its name in the results; intervals are clipped to it."""
