"""Losses that change the target: a mixture of the weak label q with something of the student's own.

With f the student's logits, s = softmax(f), ŝ its hardened prediction and u the fraction of training done:

    xent       CE(f, q)
    product    CE(f, normalised s^beta q^alpha), the target detached                       (release of 2312.09390)
    logconf    CE(f, (1 - c) q + c ŝ),  c = aux_coef * min(1, u / warmup_frac)                   (2312.09390, eq. 1)
    entropy    CE(f, (1 - c) q + c s), the soft self-target not detached                        (EleutherAI's w2s)
    smoothing  CE(f, (1 - v) q + v / K),  v = v_max * H(q) / log K                                    (2406.04854)

ŝ is the student's argmax after class biases that make its class counts those of q. The release of 2312.09390 ramps c
to a tenth of aux_coef and then jumps; here the ramp is linear to its end. A soft self-target that is detached would
have no gradient at all, s - s: what acts in `entropy` is the student's own entropy.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import one_hot

from ensemw2s.core.losses.base import GlobalStats, NoStats, SoftmaxLoss, WeakBatch, cross_entropy, ramp
from ensemw2s.core.losses.hardening import global_stats


@dataclass(frozen=True)
class CrossEntropy(NoStats):
    """CE(f, q)."""

    for_words: ClassVar[bool] = True
    needs_stats: bool = False

    def __call__(
        self,
        student_logits: Float[Tensor, "batch classes"],
        batch: WeakBatch,
        stats: GlobalStats,
        *,
        train_frac: float,
    ) -> Float[Tensor, " batch"]:
        return cross_entropy(student_logits, batch.soft)


@dataclass(frozen=True)
class Product(NoStats):
    """Cross-entropy to the product of the student's own belief and the weak label."""

    alpha: float = 1.0
    """Exponent of the weak label."""
    beta: float = 1.0
    """Exponent of the student's belief; 0 with alpha 1 is xent."""
    needs_stats: bool = False

    def __call__(
        self,
        student_logits: Float[Tensor, "batch classes"],
        batch: WeakBatch,
        stats: GlobalStats,
        *,
        train_frac: float,
    ) -> Float[Tensor, " batch"]:
        own = student_logits.detach().log_softmax(-1)
        target = (self.beta * own + self.alpha * batch.soft.clamp_min(1e-12).log()).softmax(-1)
        return cross_entropy(student_logits, target)


@dataclass(frozen=True)
class LogConf(SoftmaxLoss):
    """Cross-entropy to a mixture of the weak label and the student's own hardened, class-balanced prediction."""

    aux_coef: float = 0.5
    """c at the end of the ramp."""
    warmup_frac: float = 0.2
    needs_stats: bool = True

    def stats(self, student_logits: Float[Tensor, "batch classes"], batch: WeakBatch) -> GlobalStats:
        """Class biases."""
        return global_stats(student_logits, batch.soft)

    def __call__(
        self,
        student_logits: Float[Tensor, "batch classes"],
        batch: WeakBatch,
        stats: GlobalStats,
        *,
        train_frac: float,
    ) -> Float[Tensor, " batch"]:
        """Raises ValueError where the statistics are missing."""
        if stats.class_bias is None:
            raise ValueError("logconf hardens with the global batch's class biases; compute them with global_stats")
        c = self.aux_coef * ramp(train_frac, self.warmup_frac)
        hardened = one_hot((student_logits.detach() + stats.class_bias).argmax(-1), student_logits.shape[-1])
        return cross_entropy(student_logits, (1.0 - c) * batch.soft + c * hardened.to(batch.soft))


@dataclass(frozen=True)
class Entropy(NoStats):
    """Cross-entropy to the weak label, and the student's own entropy."""

    aux_coef: float = 0.5
    warmup_frac: float = 0.2
    needs_stats: bool = False

    def __call__(
        self,
        student_logits: Float[Tensor, "batch classes"],
        batch: WeakBatch,
        stats: GlobalStats,
        *,
        train_frac: float,
    ) -> Float[Tensor, " batch"]:
        c = self.aux_coef * ramp(train_frac, self.warmup_frac)
        own = student_logits.softmax(-1)
        return cross_entropy(student_logits, (1.0 - c) * batch.soft + c * own)


@dataclass(frozen=True)
class Smoothing(NoStats):
    """Label smoothing that is stronger where the weak label is less sure."""

    v_max: float = 0.2
    """Share of the uniform distribution where q is uniform."""
    needs_stats: bool = False

    def __call__(
        self,
        student_logits: Float[Tensor, "batch classes"],
        batch: WeakBatch,
        stats: GlobalStats,
        *,
        train_frac: float,
    ) -> Float[Tensor, " batch"]:
        k = batch.soft.shape[-1]
        entropy = -(batch.soft * batch.soft.clamp_min(1e-12).log()).sum(-1)
        v = (self.v_max * entropy / math.log(k)).unsqueeze(-1)
        return cross_entropy(student_logits, (1.0 - v) * batch.soft + v / k)
