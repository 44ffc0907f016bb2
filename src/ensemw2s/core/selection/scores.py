"""Selections by a score of each label: confidence, agreement, the strong model's own answer, neighbours, or loss."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from ensemw2s.core.arrays import accepts_arrays
from ensemw2s.core.labels.base import Labelled, agreement
from ensemw2s.core.selection.base import Evidence, best_share, check_share


@dataclass(frozen=True)
class All:
    """Keep every label."""

    for_generation: ClassVar[bool] = True
    reads_own: ClassVar[bool] = False

    @accepts_arrays
    def __call__(self, labelled: Labelled, evidence: Evidence) -> Labelled:
        return labelled


@dataclass(frozen=True)
class Confidence:
    """Keep the most confident labels of each class, so that easy classes do not crowd out the others."""

    for_generation: ClassVar[bool] = True
    reads_own: ClassVar[bool] = False
    share: float = 0.5
    """Share of each class that is kept."""

    def __post_init__(self) -> None:
        check_share("confidence", "share", self.share)

    @accepts_arrays
    def __call__(self, labelled: Labelled, evidence: Evidence) -> Labelled:
        score, answer = labelled.soft.max(-1)
        keep = torch.zeros_like(labelled.keep)
        for label in answer[labelled.keep].unique():
            keep |= best_share(score, labelled.keep & (answer == label), self.share)
        return labelled._replace(keep=keep)


@dataclass(frozen=True)
class Agreement:
    """Keep labels that at least a share of the members gives, of those that vote; else those that most of them give."""

    for_generation: ClassVar[bool] = True
    reads_own: ClassVar[bool] = False
    least: float = 1.0

    def __post_init__(self) -> None:
        check_share("agreement", "least", self.least)

    @accepts_arrays
    def __call__(self, labelled: Labelled, evidence: Evidence) -> Labelled:
        score = agreement(evidence.member, labelled.soft.argmax(-1), evidence.voted)
        # The tolerance lets 0.6 be three of five, whatever the rounding.
        least = min(self.least, float(score[labelled.keep].max())) - 1e-9
        return labelled._replace(keep=labelled.keep & (score >= least))


@dataclass(frozen=True)
class Consistent:
    """Keep labels that are the strong model's own answers, too; all where none is."""

    for_generation: ClassVar[bool] = True
    reads_own: ClassVar[bool] = True

    @accepts_arrays
    def __call__(self, labelled: Labelled, evidence: Evidence) -> Labelled:
        own = evidence.own.argmax(-1) if evidence.own_answer is None else evidence.own_answer
        keep = labelled.keep & (labelled.soft.argmax(-1) == own)
        return labelled._replace(keep=keep if bool(keep.any()) else labelled.keep)


@dataclass(frozen=True)
class Neighbours:
    """Keep labels that agree with those of the nearest neighbours in the strong model's features.

    Every pair of examples is compared, in blocks that fit in memory: 2 N^2 dim operations, 2 * 10^13 for 100,000
    examples of 1,000 features. Memory is that of a block and of N k neighbours.
    """

    for_generation: ClassVar[bool] = False
    reads_own: ClassVar[bool] = False
    k: int = 20
    share: float = 0.5

    def __post_init__(self) -> None:
        check_share("neighbours", "share", self.share)
        if self.k < 1:
            raise ValueError(f"neighbours: k is {self.k}; give 1 or more")

    @accepts_arrays
    def __call__(self, labelled: Labelled, evidence: Evidence) -> Labelled:
        return labelled._replace(keep=best_share(self.score(labelled, evidence), labelled.keep, self.share))

    def score(self, labelled: Labelled, evidence: Evidence) -> Float[Tensor, " items"]:
        """Mean probability of the example's answer over its k nearest neighbours by cosine similarity."""
        k = min(self.k, len(labelled.soft) - 1)
        if k < 1:
            return torch.ones(len(labelled.soft))
        features = evidence.features()[0].numpy()
        near = NearestNeighbors(n_neighbors=k, metric="cosine").fit(features).kneighbors(return_distance=False)
        answer = labelled.soft.argmax(-1)
        neighbours = labelled.soft[
            torch.from_numpy(near), answer[:, None]
        ]  # [items, k]; an example is not its own neighbour
        return neighbours.mean(1)


@dataclass(frozen=True)
class TopRho:
    """Keep the labels with the least loss under the strong model trained on trusted labels alone.

    Ours, after the idea of 2503.03201, which is another: of perturbed copies of truly labelled examples the hardest.
    """

    for_generation: ClassVar[bool] = True
    reads_own: ClassVar[bool] = True
    rho: float = 0.15

    def __post_init__(self) -> None:
        check_share("top-rho", "rho", self.rho)

    @accepts_arrays
    def __call__(self, labelled: Labelled, evidence: Evidence) -> Labelled:
        q = labelled.soft / labelled.soft.sum(-1, keepdim=True)  # in generation a row may sum to less than 1
        score = (q * evidence.own.clamp_min(1e-12).log()).sum(-1)
        return labelled._replace(keep=best_share(score, labelled.keep, self.rho))
