"""Merges: the changes that experts of one start made to a tensor become one change.

linear  sum_t w_t d_t
ties    each change keeps its largest entries; per entry the sign of the weighted sum is elected, and those that have it
        are averaged by their weights (2306.01708)
dare    each change loses entries at random and the rest grow to keep its expectation; then linear (2311.03099)

with d_t = theta_t - theta_0 and weights that sum to 1. T copies of one change merge to it, or under ties to what it
keeps.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Generator, Tensor


@runtime_checkable
class Merge(Protocol):
    """How the changes of one tensor become one. A frozen dataclass whose fields are its options."""

    label: ClassVar[str]
    """What tables call a model that was merged so, such as "merged by TIES"."""

    def __call__(
        self, changes: Float[Tensor, "experts *shape"], weights: Float[Tensor, " experts"], generator: Generator
    ) -> Float[Tensor, "*shape"]:
        """The merged change.

        Args:
            changes: of one tensor, in float64.
            weights: of the experts, 0 or more, with the sum 1.
            generator: the only source of random draws; one for each tensor.
        """
        ...


@dataclass(frozen=True)
class Linear:
    """The weighted mean."""

    label: ClassVar[str] = "merged by its mean"

    def __call__(
        self, changes: Float[Tensor, "experts *shape"], weights: Float[Tensor, " experts"], generator: Generator
    ) -> Float[Tensor, "*shape"]:
        return _mean(changes, weights)


@dataclass(frozen=True)
class Ties:
    """TIES: trim, elect signs, average those that agree."""

    label: ClassVar[str] = "merged by TIES"

    density: float | int = 0.2
    """Share of the entries that each change keeps, the largest."""

    def __post_init__(self) -> None:
        _check_density("ties", self.density)

    def __call__(
        self, changes: Float[Tensor, "experts *shape"], weights: Float[Tensor, " experts"], generator: Generator
    ) -> Float[Tensor, "*shape"]:
        kept = torch.stack([trimmed(change, self.density) for change in changes])
        elected = torch.where(_mean(kept, weights) >= 0, 1.0, -1.0)
        agreeing = _beside(weights, kept) * (kept.sign() == elected)
        share = agreeing.sum(0)
        # Where nobody kept an entry, nothing changes.
        return torch.where(share > 0, (agreeing * kept).sum(0) / share, 0.0)


@dataclass(frozen=True)
class Dare:
    """DARE: drop entries at random and rescale, then the weighted mean."""

    label: ClassVar[str] = "merged by DARE"

    density: float | int = 0.5
    """Probability with which an entry is kept."""

    def __post_init__(self) -> None:
        _check_density("dare", self.density)

    def __call__(
        self, changes: Float[Tensor, "experts *shape"], weights: Float[Tensor, " experts"], generator: Generator
    ) -> Float[Tensor, "*shape"]:
        kept = torch.rand(changes.shape, generator=generator) < self.density
        return _mean(changes * kept / self.density, weights)


def trimmed(change: Float[Tensor, "*shape"], density: float | int) -> Float[Tensor, "*shape"]:
    """The change with all but the `density` largest of its entries (at least one) set to 0."""
    flat = change.flatten()
    largest = flat.abs().topk(max(1, int(density * flat.numel()))).indices
    return torch.zeros_like(flat).index_copy(0, largest, flat[largest]).view_as(change)


def low_rank(matrix: Float[Tensor, "out in"], rank: int) -> tuple[Float[Tensor, "rank in"], Float[Tensor, "out rank"]]:
    """Factors A and B of the best approximation B A of that rank (Eckart and Young), padded with 0 to that rank.

    From the principal axes of the shorter side, which takes a fraction of a singular value decomposition.
    """
    is_wide = matrix.shape[0] <= matrix.shape[1]
    wide = matrix if is_wide else matrix.T
    axes = torch.linalg.eigh(wide @ wide.T).eigenvectors[:, -rank:]
    padding = (0, rank - axes.shape[1])
    left = torch.nn.functional.pad(axes, padding)
    right = torch.nn.functional.pad(wide.T @ axes, padding)
    return (right.T, left) if is_wide else (left.T, right)


def _mean(changes: Float[Tensor, "experts *shape"], weights: Float[Tensor, " experts"]) -> Float[Tensor, "*shape"]:
    return (_beside(weights, changes) * changes).sum(0)


def _beside(weights: Float[Tensor, " experts"], changes: Float[Tensor, "experts *shape"]) -> Tensor:
    """The weights in a shape that multiplies the changes."""
    return weights.to(changes.dtype).view(-1, *[1] * (changes.ndim - 1))


def _check_density(name: str, density: float | int) -> None:
    if not 0 < density <= 1:
        raise ValueError(f"{name}: density is {density}; give a number above 0, at most 1")
