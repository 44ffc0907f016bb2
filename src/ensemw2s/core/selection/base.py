"""The protocol of selections: which labels the student is trained on. None sees a sealed label."""

from collections.abc import Callable
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ensemw2s.core.labels.base import Labelled


class Evidence(NamedTuple):
    """Predictions that a selection may use, on unlabelled (hard) and on held-out labelled (trusted) examples."""

    member: Float[Tensor, "experts items classes"]
    """Each member's own distribution."""
    own: Float[Tensor, "items classes"]
    """Calibrated predictions of the strong model trained on the labelled easy examples."""
    trusted_own: Float[Tensor, "trusted classes"]
    """Its predictions on labelled easy examples that it was not trained on."""
    trusted_labels: Int[Tensor, " trusted"]
    features: Callable[[], tuple[Tensor, Tensor]]
    """Computes the strong model's pooled features, [items, dim] and [trusted, dim]; called only where needed."""
    voted: Bool[Tensor, "experts items"] | None = None
    """False where a member abstains; None where all vote on everything."""
    own_answer: Int[Tensor, " items"] | None = None
    """The column of the strong model's own answer; None where that is the likeliest of `own`."""


@runtime_checkable
class Selection(Protocol):
    """A frozen dataclass per selection; its fields are its configuration."""

    for_generation: ClassVar[bool]
    """Whether it applies to generation, where the columns of one example are other texts than those of the next."""
    reads_own: ClassVar[bool]
    """Whether it needs the strong model trained on the easy labels, whose training then counts towards its cost."""

    def __call__(self, labelled: Labelled, evidence: Evidence) -> Labelled: ...


def best_share(
    score: Float[Tensor, " items"], candidates: Bool[Tensor, " items"], share: float | int
) -> Bool[Tensor, " items"]:
    """Mask of the `share` of candidates with the largest scores, at least one; ties go to the earlier examples."""
    index = candidates.nonzero()[:, 0]
    order = score[index].argsort(descending=True, stable=True)
    keep = torch.zeros_like(candidates)
    keep[index[order[: max(1, round(share * len(index)))]]] = True
    return keep


def check_share(name: str, option: str, share: float | int) -> None:
    """Check that a share is above 0 and at most 1.

    Raises:
        ValueError: it is not.
    """
    if not 0 < share <= 1:
        raise ValueError(f"{name}: {option} is {share}; give a share above 0, at most 1")
