"""The protocol of student losses: one number per example, never reduced inside.

What a loss needs of more than one example comes in as statistics over the GLOBAL batch, so that 8 accumulated batches
of 1 equal one of 8.
"""

from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.core.arrays import accepts_arrays
from ensemw2s.core.losses.links import SOFTMAX

Logits = Float[Tensor, "batch classes"]
"""Logits of a student, before its link turns them into probabilities."""
Losses = Float[Tensor, " batch"]
"""One loss per example, never reduced."""


class WeakBatch(NamedTuple):
    """Weak supervision of a batch of examples."""

    soft: Float[Tensor, "batch classes"]
    """q: rows sum to 1; one-hot for hard or true labels."""
    member: Float[Tensor, "experts batch classes"] | None = None
    """Each expert's own distribution."""
    group: Int[Tensor, " batch"] | None = None
    """Difficulty bin of each example, for losses over groups."""


class GlobalStats(NamedTuple):
    """Statistics over the global batch."""

    class_bias: Float[Tensor, " classes"] | None = None
    """Added to the student's logits before hardening."""
    group_weight: Float[Tensor, " groups"] | None = None
    """Weight of an example, by group."""


@runtime_checkable
class WeakToStrongLoss(Protocol):
    """A frozen dataclass per loss; its fields are its configuration."""

    for_generation: ClassVar[bool]
    """Whether students of generation can be trained with it, token by token."""
    needs_groups: ClassVar[bool]
    """Whether `WeakBatch.group` must be given."""
    needs_members: ClassVar[bool]
    """Whether `WeakBatch.member` must be given."""

    @property
    def link(self) -> str:
        """Key in `LINKS` of the function that turns this loss's logits into log-probabilities."""
        ...

    @property
    def needs_stats(self) -> bool:
        """Whether `GlobalStats` must be computed."""
        ...

    def stats(self, student_logits: Logits, batch: WeakBatch) -> GlobalStats:
        """Compute the statistics from the logits of the whole global batch; no gradient flows through them."""
        ...

    def __call__(
        self, student_logits: Logits, batch: WeakBatch, stats: GlobalStats, *, train_frac: float
    ) -> Losses: ...


class SoftmaxLoss:
    """Base of losses that need only the soft label and are read by softmax. Losses that differ override the fields."""

    for_generation: ClassVar[bool] = False
    is_convex: ClassVar[bool] = False
    """Whether it is a convex function of the logits, whose optimum can be searched for."""
    needs_groups: ClassVar[bool] = False
    needs_members: ClassVar[bool] = False

    @property
    def link(self) -> str:
        """Key in `LINKS`: softmax."""
        return SOFTMAX


class NoStats(SoftmaxLoss):
    """Base of losses of one example at a time, which need no statistics."""

    @accepts_arrays
    def stats(self, student_logits: Logits, batch: WeakBatch) -> GlobalStats:
        """No statistics."""
        return GlobalStats()


def cross_entropy(
    logits: Float[Tensor, "batch classes"], target: Float[Tensor, "batch classes"]
) -> Float[Tensor, " batch"]:
    """Cross-entropy CE(f, target) in nats, for any target distribution."""
    return -(target * logits.log_softmax(-1)).sum(-1)


def ramp(train_frac: float, warmup_frac: float) -> float:
    """Linear warm-up: rises from 0 to 1 over the first `warmup_frac` of training."""
    return 1.0 if warmup_frac == 0.0 else min(1.0, train_frac / warmup_frac)
