"""Losses whose target mixes the weak label q with the student's own prediction.

With f the student's logits, s = softmax(f), ŝ its hardened prediction and u the fraction of training done:

    xent       CE(f, q)
    product    CE(f, normalised s^beta q^alpha), the target detached                       (release of 2312.09390)
    logconf    CE(f, (1 - c) q + c ŝ),  c = aux_coef * min(1, u / warmup_frac)                   (2312.09390, eq. 1)
    entropy    CE(f, (1 - c) q + c s), the soft self-target not detached                        (EleutherAI's w2s)
    smoothing  CE(f, (1 - v) q + v / K),  v = v_max * H(q) / log K                                    (2406.04854)

ŝ is the student's argmax after class biases that make its class counts those of q. The release of 2312.09390 ramps c
to a tenth of aux_coef and then jumps; here the ramp is linear to its end. A detached soft
self-target would have no gradient (s - s), so `entropy` does not detach it: it penalises the student's own entropy.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch.nn.functional import one_hot

from ensemw2s.core.arrays import accepts_arrays
from ensemw2s.core.losses.base import GlobalStats, Logits, Losses, NoStats, SoftmaxLoss, WeakBatch, cross_entropy, ramp
from ensemw2s.core.losses.hardening import global_stats


@dataclass(frozen=True)
class CrossEntropy(NoStats):
    """CE(f, q)."""

    for_generation: ClassVar[bool] = True
    is_convex: ClassVar[bool] = True
    needs_stats: bool = False

    @accepts_arrays
    def __call__(self, student_logits: Logits, batch: WeakBatch, stats: GlobalStats, *, train_frac: float) -> Losses:
        return cross_entropy(student_logits, batch.soft)


@dataclass(frozen=True)
class Product(NoStats):
    """Cross-entropy to the normalised product of the student's probabilities and the weak label."""

    alpha: float = 1.0
    """Exponent of the weak label."""
    beta: float = 1.0
    """Exponent of the student's probabilities; with beta 0 and alpha 1 this is xent."""
    needs_stats: bool = False

    @accepts_arrays
    def __call__(self, student_logits: Logits, batch: WeakBatch, stats: GlobalStats, *, train_frac: float) -> Losses:
        student_log_probs = student_logits.detach().log_softmax(-1)
        target = (self.beta * student_log_probs + self.alpha * batch.soft.clamp_min(1e-12).log()).softmax(-1)
        return cross_entropy(student_logits, target)


@dataclass(frozen=True)
class LogConf(SoftmaxLoss):
    """Cross-entropy to a mixture of the weak label and the student's hardened, class-balanced prediction."""

    aux_coef: float = 0.5
    """c at the end of the ramp."""
    warmup_frac: float = 0.2
    needs_stats: bool = True

    @accepts_arrays
    def stats(self, student_logits: Logits, batch: WeakBatch) -> GlobalStats:
        """Class biases for hardening."""
        return global_stats(student_logits, batch.soft)

    @accepts_arrays
    def __call__(self, student_logits: Logits, batch: WeakBatch, stats: GlobalStats, *, train_frac: float) -> Losses:
        """Raises ValueError where the statistics are missing."""
        if stats.class_bias is None:
            raise ValueError("logconf hardens with the global batch's class biases; compute them with global_stats")
        c = self.aux_coef * ramp(train_frac, self.warmup_frac)
        hardened = one_hot((student_logits.detach() + stats.class_bias).argmax(-1), student_logits.shape[-1])
        return cross_entropy(student_logits, (1.0 - c) * batch.soft + c * hardened.to(batch.soft))


@dataclass(frozen=True)
class Entropy(NoStats):
    """Cross-entropy to the weak label, plus the student's entropy."""

    aux_coef: float = 0.5
    warmup_frac: float = 0.2
    needs_stats: bool = False

    @accepts_arrays
    def __call__(self, student_logits: Logits, batch: WeakBatch, stats: GlobalStats, *, train_frac: float) -> Losses:
        c = self.aux_coef * ramp(train_frac, self.warmup_frac)
        student_probs = student_logits.softmax(-1)
        return cross_entropy(student_logits, (1.0 - c) * batch.soft + c * student_probs)


@dataclass(frozen=True)
class Smoothing(NoStats):
    """Label smoothing in proportion to the entropy of the weak label."""

    is_convex: ClassVar[bool] = True
    v_max: float = 0.2
    """Share of the uniform distribution where q is uniform."""
    needs_stats: bool = False

    @accepts_arrays
    def __call__(self, student_logits: Logits, batch: WeakBatch, stats: GlobalStats, *, train_frac: float) -> Losses:
        k = batch.soft.shape[-1]
        entropy = -(batch.soft * batch.soft.clamp_min(1e-12).log()).sum(-1)
        v = (self.v_max * entropy / math.log(k)).unsqueeze(-1)
        return cross_entropy(student_logits, (1.0 - v) * batch.soft + v / k)
