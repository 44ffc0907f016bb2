"""Losses that weigh: how much an example, or its weak label against the student's own prediction, counts.

With q̂ = argmax q and ŝ = argmax f:

    adaptive  (1 - w) CE(f, q) + w CE(f, ŝ),  w = e^(CE(f,ŝ)/tau) / (e^(CE(f,ŝ)/tau) + e^(CE(f,q̂)/tau))  (2402.03749)
    window    CE(f, q) where the student's largest probability is below 1/K + radius, else 0          (EleutherAI's w2s)
    group     mean_g L_g + beta Var_g(L_g) over groups of difficulty, L = CE(f, q)              (2310.11971)

w as released is at most 1/2, because ŝ is what the student finds likeliest, and falls where student and teacher
disagree strongly: the student then follows its teacher. `sign: reversed` takes 1 - w, by which it follows itself there.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import one_hot

from ensemw2s.core.losses.base import GlobalStats, NoStats, SoftmaxLoss, WeakBatch, cross_entropy


@dataclass(frozen=True)
class Adaptive(NoStats):
    """The weak label and the student's own prediction, weighed example by example."""

    tau: float = 1.0
    """Temperature of the weights; must be above 0."""
    sign: Literal["released", "reversed"] = "released"
    needs_stats: bool = False

    def __post_init__(self) -> None:
        if self.tau <= 0:
            raise ValueError(f"adaptive: tau is {self.tau}; give a number above 0")

    def __call__(
        self,
        student_logits: Float[Tensor, "batch classes"],
        batch: WeakBatch,
        stats: GlobalStats,
        *,
        train_frac: float,
    ) -> Float[Tensor, " batch"]:
        k = student_logits.shape[-1]
        own = cross_entropy(student_logits, one_hot(student_logits.argmax(-1), k).to(student_logits))
        teacher = cross_entropy(student_logits, one_hot(batch.soft.argmax(-1), k).to(student_logits))
        w = ((own - teacher).detach() / self.tau).sigmoid()
        w = 1.0 - w if self.sign == "reversed" else w
        return (1.0 - w) * cross_entropy(student_logits, batch.soft) + w * own


@dataclass(frozen=True)
class Window(NoStats):
    """Only examples of which the student is unsure."""

    radius: float = 0.15
    needs_stats: bool = False

    def __call__(
        self,
        student_logits: Float[Tensor, "batch classes"],
        batch: WeakBatch,
        stats: GlobalStats,
        *,
        train_frac: float,
    ) -> Float[Tensor, " batch"]:
        unsure = student_logits.detach().softmax(-1).amax(-1) < 1.0 / student_logits.shape[-1] + self.radius
        return unsure * cross_entropy(student_logits, batch.soft)


@dataclass(frozen=True)
class Group(SoftmaxLoss):
    """Equal losses in all bins of difficulty: their mean and, `beta` times, their variance."""

    beta: float = 1.0
    needs_stats: bool = True
    needs_groups: ClassVar[bool] = True

    def stats(self, student_logits: Float[Tensor, "batch classes"], batch: WeakBatch) -> GlobalStats:
        """Of an example in group g: n (1 + 2 beta (L_g - mean)) / (G n_g), over the G groups of this batch.

        The gradient of the mean over n examples with these weights is that of the formula above, for L_g depends on
        its examples alone. Raises ValueError without groups.
        """
        if batch.group is None:
            raise ValueError("group: the loss needs each example's group; give WeakBatch.group")
        losses = cross_entropy(student_logits, batch.soft).detach()
        sizes = torch.bincount(batch.group).to(losses)
        means = torch.zeros_like(sizes).index_add_(0, batch.group, losses) / sizes.clamp_min(1.0)
        there = sizes > 0
        scale = 1.0 + 2.0 * self.beta * (means - means[there].mean())
        weight = len(losses) * scale / (there.sum() * sizes.clamp_min(1.0))
        return GlobalStats(group_weight=torch.where(there, weight, 0.0))

    def __call__(
        self,
        student_logits: Float[Tensor, "batch classes"],
        batch: WeakBatch,
        stats: GlobalStats,
        *,
        train_frac: float,
    ) -> Float[Tensor, " batch"]:
        """Raises ValueError where the statistics or the groups are missing."""
        if stats.group_weight is None or batch.group is None:
            raise ValueError("group: the loss needs the global batch's group weights; compute them with stats")
        return stats.group_weight[batch.group] * cross_entropy(student_logits, batch.soft)
