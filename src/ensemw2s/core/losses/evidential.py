"""All members' labels at once, and a student that says how much evidence it has (2406.03199; Sensoy et al., 2018).

With q_m the label of member m of M, f the student's logits, a = 1 + relu(f) (or softplus) and S = sum a:

    naive     CE(f, mean_m q_m)
    joint     (1 - gamma) mean_m CE(f, q_m) + gamma CE(f, ŝ)
    bayesian  (1 - gamma) mean_m L(q_m) + gamma L(ŝ)
              L(q) = sum_y q_y (log S - log a_y) + u KL(Dir(q + (1 - q) a) || Dir(1))

u is the fraction of training done. The second term removes evidence for classes other than the label. It is phased in
slowly, because at full strength from the start it would remove all evidence. ŝ is the student's own hardened
prediction, with the class counts of the members' mean. Cross-entropy is linear in its label, so joint at gamma 0 is
naive; L is not.

The probabilities of a student trained with `bayesian` are a / S, not the softmax of its logits.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import one_hot

from ensemw2s.core.arrays import accepts_arrays
from ensemw2s.core.losses.base import GlobalStats, Logits, Losses, SoftmaxLoss, WeakBatch, cross_entropy
from ensemw2s.core.losses.hardening import global_stats
from ensemw2s.core.losses.links import LINKS, SOFTMAX, concentration


def evidential_risk(
    concentration: Float[Tensor, "batch classes"], label: Float[Tensor, "*experts batch classes"], kl_weight: float
) -> Float[Tensor, "*experts batch"]:
    """L(q): negative log-likelihood of the label under a / S, plus the weighted KL of evidence for other classes."""
    log_probs = concentration.log() - concentration.sum(-1, keepdim=True).log()
    misleading = label + (1.0 - label) * concentration
    return -(label * log_probs).sum(-1) + kl_weight * kl_to_uniform(misleading)


def kl_to_uniform(concentration: Float[Tensor, "*batch classes"]) -> Float[Tensor, "*batch"]:
    """KL(Dir(a) || Dir(1)), in nats; 0 where every a is 1."""
    total = concentration.sum(-1)
    normaliser = total.lgamma() - concentration.lgamma().sum(-1) - math.lgamma(concentration.shape[-1])
    spread = concentration.digamma() - total.digamma().unsqueeze(-1)
    return normaliser + ((concentration - 1.0) * spread).sum(-1)


@dataclass(frozen=True)
class Evidential(SoftmaxLoss):
    """Loss over every member's label, by cross-entropy or by evidence."""

    form: Literal["naive", "joint", "bayesian"] = "bayesian"
    gamma: float = 0.5
    """Share of the student's own hardened prediction, from 0 to below 1; naive has none."""
    evidence: Literal["relu", "softplus"] = "softplus"
    """Activation of the evidence. The released code uses relu, which has no gradient where it is 0, so that evidence
    that reached 0 stays there."""
    needs_members: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0.0 <= self.gamma < 1.0:
            raise ValueError(f"evidential: gamma is {self.gamma}; give a share from 0 to below 1")

    @property
    def link(self) -> str:
        """Key in `LINKS`: a / S for `bayesian`, else softmax."""
        return f"dirichlet-{self.evidence}" if self.form == "bayesian" else SOFTMAX

    @property
    def needs_stats(self) -> bool:
        return self.form != "naive" and self.gamma > 0.0

    @accepts_arrays
    def stats(self, student_logits: Logits, batch: WeakBatch) -> GlobalStats:
        """Class biases, added to log-probabilities. Raises ValueError without members."""
        return global_stats(self._log_probs(student_logits.detach()), _members(batch).mean(0))

    @accepts_arrays
    def __call__(self, student_logits: Logits, batch: WeakBatch, stats: GlobalStats, *, train_frac: float) -> Losses:
        """Raises ValueError where the members, or the statistics that the form needs, are missing."""
        member = _members(batch)
        risk = self._risk(student_logits, train_frac)
        if self.form == "naive":
            return risk(member.mean(0))
        of_members = torch.stack([risk(label) for label in member]).mean(0)
        if self.gamma == 0.0:
            return of_members
        if stats.class_bias is None:
            raise ValueError("evidential hardens with the global batch's class biases; compute them with stats")
        hardened = (self._log_probs(student_logits.detach()) + stats.class_bias).argmax(-1)
        self_label = one_hot(hardened, student_logits.shape[-1]).to(student_logits)
        return (1.0 - self.gamma) * of_members + self.gamma * risk(self_label)

    def _log_probs(self, logits: Tensor) -> Tensor:
        return LINKS[self.link].log_probs(logits)

    def _risk(self, logits: Tensor, train_frac: float) -> Callable[[Tensor], Tensor]:
        if self.form != "bayesian":
            return lambda label: cross_entropy(logits, label)
        a = concentration(logits, self.evidence)
        return lambda label: evidential_risk(a, label, train_frac)


def _members(batch: WeakBatch) -> Float[Tensor, "experts batch classes"]:
    if batch.member is None:
        raise ValueError("evidential: the loss needs each member's own label; give WeakBatch.member")
    return batch.member
