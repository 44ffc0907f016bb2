"""Label models with one confusion matrix per member, fitted by expectation maximisation.

C_m[y, v] is the probability that member m answers v where the truth is y, and votes are independent given the truth:

    E   q_y ∝ s_y prod_m C_m[y, vote_m]
    M   C_m[y, v] ∝ smoothing + sum over examples with vote_m = v of q_y

It starts from the majority vote, so that no two classes trade places as long as the members are right more often than
they give any one wrong answer. With s the classes' frequencies it is Dawid and Skene (1979); with s a
classifier's own distribution it is Raykar et al. (2010), and GLWS (2402.01922) for noisy sources of any kind.

Experts that share a trunk make correlated errors. Their votes are not independent, and q is then overconfident.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.core.arrays import accepts_arrays
from ensemw2s.core.labels.base import Labelled, Learn, NoStudents, TrainsStudents, Votes, everything
from ensemw2s.core.labels.votes import answers, vote_share

_FLOOR = 1e-10
"""Smallest probability; at 0 a single vote could rule a class out for good."""
_TOLERANCE = 1e-6
"""Largest change of q at which the fit has converged."""


class Fit(NamedTuple):
    """Result of expectation maximisation."""

    soft: Float[Tensor, "items classes"]
    confusion: Float[Tensor, "experts classes classes"]
    """Row: the truth; column: the answer."""
    objective: tuple[float, ...]
    """After each step, in nats: log-likelihood of the votes plus smoothing * sum log C. It never falls."""


def expectation_maximisation(
    answer: Int[Tensor, "experts items"],
    n_classes: int,
    prior: Float[Tensor, "items classes"] | None,
    *,
    smoothing: float | int,
    max_steps: int = 200,
) -> Fit:
    """Estimate the distribution of each example's true class and the members' confusion matrices.

    Memory is three matrices [items, classes] in float64, whatever the number of members; a step takes two passes over
    [items, classes] for each member.

    Args:
        answer: the class that each member gives; -1 where it abstains.
        prior: s of each example; None estimates the classes' frequencies along the way.
        smoothing: pseudo-count of every cell of a confusion matrix.
    """
    q = vote_share(answer, n_classes)
    objective: list[float] = []
    while True:
        confusion = torch.stack([_confusion(given, q, smoothing) for given in answer])
        s = q.mean(0, keepdim=True) if prior is None else prior.double()
        joint = s.clamp_min(_FLOOR).log().expand(len(q), -1).clone()  # log s_y prod_m C_m[y, vote_m]
        for given, matrix in zip(answer, confusion, strict=True):
            joint += torch.cat([matrix.log().T, torch.zeros_like(matrix[:1])])[given]  # -1 adds the last row, 0
        objective.append(float(joint.logsumexp(-1).sum() + smoothing * confusion.log().sum()))
        before, q = q, joint.softmax(-1)
        if len(objective) >= max_steps or float((q - before).abs().amax()) < _TOLERANCE:
            return Fit(q, confusion, tuple(objective))


def _confusion(
    given: Int[Tensor, " items"], q: Float[Tensor, "items classes"], smoothing: float | int
) -> Float[Tensor, "classes classes"]:
    """One member's confusion matrix (row: truth) from its answers and the distribution of the truth."""
    n_classes = q.shape[1]
    counts = torch.zeros(n_classes + 1, n_classes, dtype=q.dtype).index_add_(0, given % (n_classes + 1), q)
    counts = counts[:n_classes].T  # [truth, answer], without abstentions
    counts = (counts + smoothing).clamp_min(_FLOOR)
    return counts / counts.sum(-1, keepdim=True)


@dataclass(frozen=True)
class DawidSkene(NoStudents):
    """Confusion matrices and class frequencies from the votes alone."""

    for_generation: ClassVar[bool] = False
    smoothing: float = 0.01
    """Pseudo-count of every cell; must not be negative."""

    def __post_init__(self) -> None:
        if self.smoothing < 0:
            raise ValueError(f"dawid-skene: smoothing is {self.smoothing}; give 0 or more")

    @accepts_arrays
    def __call__(self, votes: Votes, learn: Learn) -> Labelled:
        answer, n_classes = answers(votes), votes.member.shape[-1]
        # Two members that disagree leave it on a ridge, where the rounding of a sum decides: so sums are made in one
        # order, whatever that of the examples.
        order = answer.unique(dim=1, return_inverse=True)[1].argsort(stable=True)
        fit = expectation_maximisation(answer[:, order], n_classes, None, smoothing=self.smoothing)
        return everything(torch.empty_like(fit.soft).index_copy_(0, order, fit.soft))


@dataclass(frozen=True)
class Glws(TrainsStudents):
    """Confusion matrices with the student's predictions as the prior, in turns with training the student."""

    smoothing: float = 1.0
    """Pseudo-count of every cell; must not be negative."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.smoothing < 0:
            raise ValueError(f"glws: smoothing is {self.smoothing}; give 0 or more")

    @accepts_arrays
    def __call__(self, votes: Votes, learn: Learn) -> Labelled:
        answer, n_classes = answers(votes), votes.member.shape[-1]
        soft = vote_share(answer, n_classes)
        for _ in range(self.rounds):
            student = learn(everything(soft))
            soft = expectation_maximisation(answer, n_classes, student, smoothing=self.smoothing).soft
        return everything(soft)
