"""What a selection is: from labels to those worth learning. None sees a sealed label."""

from collections.abc import Callable
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ensemw2s.core.labels.base import Labelled


class Evidence(NamedTuple):
    """What may be asked about the unlabelled (hard) examples, and what is known of labelled (trusted) ones."""

    member: Float[Tensor, "experts items classes"]
    """Each member's own distribution."""
    own: Float[Tensor, "items classes"]
    """What the strong model says that learned the labelled easy examples; calibrated."""
    trusted_own: Float[Tensor, "trusted classes"]
    """The same of labelled easy examples that it did not learn."""
    trusted_labels: Int[Tensor, " trusted"]
    features: Callable[[], tuple[Tensor, Tensor]]
    """Gives the strong model's pooled features, [items, dim] and [trusted, dim]: they are read where somebody asks."""


@runtime_checkable
class Selection(Protocol):
    """A frozen dataclass per selection; its fields are its configuration."""

    for_words: ClassVar[bool]
    """Whether it can judge texts: the classes of one example are then not those of another."""
    reads_own: ClassVar[bool]
    """Whether it asks the strong model that learned the easy labels, whose training then counts as its cost."""

    def __call__(self, labelled: Labelled, evidence: Evidence) -> Labelled: ...


def best_share(
    score: Float[Tensor, " items"], candidates: Bool[Tensor, " items"], share: float | int
) -> Bool[Tensor, " items"]:
    """The share of the candidates with the largest scores, at least one; of equal scores the earlier ones."""
    index = candidates.nonzero()[:, 0]
    order = score[index].argsort(descending=True, stable=True)
    keep = torch.zeros_like(candidates)
    keep[index[order[: max(1, round(share * len(index)))]]] = True
    return keep


def check_share(name: str, option: str, share: float | int) -> None:
    """Raises ValueError where it is no share above 0."""
    if not 0 < share <= 1:
        raise ValueError(f"{name}: {option} is {share}; give a share above 0, at most 1")
