"""Losses that weigh examples, or weigh the weak label against the student's own prediction.

With q̂ = argmax q and ŝ = argmax f:

    adaptive  (1 - w) CE(f, q) + w CE(f, ŝ),  w = e^(CE(f,ŝ)/tau) / (e^(CE(f,ŝ)/tau) + e^(CE(f,q̂)/tau))  (2402.03749)
    window    CE(f, q) where the student's largest probability is below 1/K + radius, else 0          (EleutherAI's w2s)
    group     mean_g L_g + beta Var_g(L_g) over groups of difficulty, L = CE(f, q)              (2310.11971)

The released w is at most 1/2, because ŝ is the student's likeliest class. It falls where student and supervisor
disagree strongly, so that the student follows the supervisor there. `sign: reversed` uses 1 - w: the student then
follows itself.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch.nn.functional import one_hot

from ensemw2s.core.losses.base import GlobalStats, Logits, Losses, NoStats, SoftmaxLoss, WeakBatch, cross_entropy


@dataclass(frozen=True)
class Adaptive(NoStats):
    """Cross-entropy to the weak label and to the student's own prediction, weighed example by example."""

    tau: float = 1.0
    """Temperature of the weights; must be above 0."""
    sign: Literal["released", "reversed"] = "released"
    needs_stats: bool = False

    def __post_init__(self) -> None:
        if self.tau <= 0:
            raise ValueError(f"adaptive: tau is {self.tau}; give a number above 0")

    def __call__(self, student_logits: Logits, batch: WeakBatch, stats: GlobalStats, *, train_frac: float) -> Losses:
        k = student_logits.shape[-1]
        self_loss = cross_entropy(student_logits, one_hot(student_logits.argmax(-1), k).to(student_logits))
        weak_loss = cross_entropy(student_logits, one_hot(batch.soft.argmax(-1), k).to(student_logits))
        w = ((self_loss - weak_loss).detach() / self.tau).sigmoid()
        w = 1.0 - w if self.sign == "reversed" else w
        return (1.0 - w) * cross_entropy(student_logits, batch.soft) + w * self_loss


@dataclass(frozen=True)
class Window(NoStats):
    """Cross-entropy on the examples of which the student is unsure; all others count 0."""

    radius: float = 0.15
    needs_stats: bool = False

    def __call__(self, student_logits: Logits, batch: WeakBatch, stats: GlobalStats, *, train_frac: float) -> Losses:
        unsure = student_logits.detach().softmax(-1).amax(-1) < 1.0 / student_logits.shape[-1] + self.radius
        return unsure * cross_entropy(student_logits, batch.soft)


@dataclass(frozen=True)
class Group(SoftmaxLoss):
    """Mean of the losses of the difficulty bins plus `beta` times their variance, to keep them equal."""

    beta: float = 1.0
    needs_stats: bool = True
    needs_groups: ClassVar[bool] = True

    def stats(self, student_logits: Logits, batch: WeakBatch) -> GlobalStats:
        """Weight of an example in group g: n (1 + 2 beta (L_g - mean)) / (G n_g), over the G groups of this batch.

        The gradient of the mean over n examples with these weights equals that of the formula above, because L_g
        depends on its own examples alone. Raises ValueError without groups.
        """
        if batch.group is None:
            raise ValueError("group: the loss needs each example's group; give WeakBatch.group")
        losses = cross_entropy(student_logits, batch.soft).detach()
        sizes = torch.bincount(batch.group).to(losses)
        means = torch.zeros_like(sizes).index_add_(0, batch.group, losses) / sizes.clamp_min(1.0)
        present = sizes > 0
        scale = 1.0 + 2.0 * self.beta * (means - means[present].mean())
        weight = len(losses) * scale / (present.sum() * sizes.clamp_min(1.0))
        return GlobalStats(group_weight=torch.where(present, weight, 0.0))

    def __call__(self, student_logits: Logits, batch: WeakBatch, stats: GlobalStats, *, train_frac: float) -> Losses:
        """Raises ValueError where the statistics or the groups are missing."""
        if stats.group_weight is None or batch.group is None:
            raise ValueError("group: the loss needs the global batch's group weights; compute them with stats")
        return stats.group_weight[batch.group] * cross_entropy(student_logits, batch.soft)
