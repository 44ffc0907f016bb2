"""What a student loss is: one number per example, never reduced inside.

Where a loss needs more than one example, that comes in as statistics over the GLOBAL batch, so that 8 accumulated
batches of 1 equal one of 8.
"""

from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.core.losses.links import SOFTMAX


class WeakBatch(NamedTuple):
    """What weak supervision says of some examples."""

    soft: Float[Tensor, "batch classes"]
    """q: rows sum to 1; one-hot for hard or true labels."""
    member: Float[Tensor, "experts batch classes"] | None = None
    """Each expert's own distribution."""
    group: Int[Tensor, " batch"] | None = None
    """For losses over groups: the bin of difficulty."""


class GlobalStats(NamedTuple):
    """Statistics over the global batch."""

    class_bias: Float[Tensor, " classes"] | None = None
    """Added to the student's logits before hardening."""
    group_weight: Float[Tensor, " groups"] | None = None
    """Of an example of each group."""


@runtime_checkable
class WeakToStrongLoss(Protocol):
    """A frozen dataclass per loss; its fields are its configuration."""

    for_words: ClassVar[bool]
    """Whether answers in words are learned with it, token by token."""
    needs_groups: ClassVar[bool]
    """Whether `WeakBatch.group` must be given."""
    needs_members: ClassVar[bool]
    """Whether `WeakBatch.member` must be given."""

    @property
    def link(self) -> str:
        """How a student of this loss is read: a name in the table of links."""
        ...

    @property
    def needs_stats(self) -> bool:
        """Whether `GlobalStats` must be computed."""
        ...

    def stats(self, student_logits: Float[Tensor, "batch classes"], batch: WeakBatch) -> GlobalStats:
        """From the logits of the whole global batch; no gradient flows through it."""
        ...

    def __call__(
        self,
        student_logits: Float[Tensor, "batch classes"],
        batch: WeakBatch,
        stats: GlobalStats,
        *,
        train_frac: float,
    ) -> Float[Tensor, " batch"]: ...


class SoftmaxLoss:
    """A loss that asks for the label alone and is read by softmax: what a loss has otherwise it says itself."""

    for_words: ClassVar[bool] = False
    needs_groups: ClassVar[bool] = False
    needs_members: ClassVar[bool] = False

    @property
    def link(self) -> str:
        """Softmax."""
        return SOFTMAX


class NoStats(SoftmaxLoss):
    """A loss that looks at one example at a time."""

    def stats(self, student_logits: Float[Tensor, "batch classes"], batch: WeakBatch) -> GlobalStats:
        """Nothing."""
        return GlobalStats()


def cross_entropy(
    logits: Float[Tensor, "batch classes"], target: Float[Tensor, "batch classes"]
) -> Float[Tensor, " batch"]:
    """CE(f, target), for any target distribution."""
    return -(target * logits.log_softmax(-1)).sum(-1)


def ramp(train_frac: float, warmup_frac: float) -> float:
    """From 0 to 1 over the warm-up, linearly."""
    return 1.0 if warmup_frac == 0.0 else min(1.0, train_frac / warmup_frac)
