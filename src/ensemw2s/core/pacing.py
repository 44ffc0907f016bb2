"""Curriculum: training from easy to hard samples (Bengio et al., 2009; Hacohen and Weinshall, 2019).

At fraction u of training the batches are drawn from the easiest share min(1, start + (1 - start) u / ramp) of the
samples. The number of steps does not change: a sample that is easy is seen more often.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor


@dataclass(frozen=True)
class Pace:
    """Schedule by which harder samples enter training."""

    hardness: Float[Tensor, " samples"]
    """Larger is harder; of equally hard samples the earlier one comes first."""
    start: float
    """Share of the samples in use at the beginning, above 0."""
    ramp: float
    """Fraction of training after which all samples are in use, above 0."""

    @property
    def deciding(self) -> tuple[list[float], float, float]:
        """All values that determine the schedule, for store keys."""
        return self.hardness.tolist(), self.start, self.ramp

    def share(self, train_frac: float) -> float:
        """Share of the samples, easiest first, in use at that fraction of training."""
        return min(1.0, self.start + (1.0 - self.start) * train_frac / self.ramp)

    def epoch_order(self, epoch: int, n_epochs: int, batch_size: int, generator: Generator) -> Int[Tensor, " samples"]:
        """Order of the samples in one epoch; every batch holds only samples that are in use at its step.

        Each batch takes the samples used least in this epoch, in the order of a random permutation. An epoch in which
        all samples are in use is that permutation, as in plain training. At least one batch of the easiest samples is
        in use from the start, and no batch holds a sample twice.
        """
        n = len(self.hardness)
        place = torch.empty(n, dtype=torch.long)
        place[torch.randperm(n, generator=generator)] = torch.arange(n)
        easiest_first = self.hardness.argsort(stable=True)
        turn = place.clone()  # n per use in this epoch, plus the place: the next samples are the smallest
        n_batches = -(-n // batch_size)
        batches: list[Tensor] = []
        for position in range(n_batches):
            size = min(batch_size, n - position * batch_size)
            share = self.share((epoch * n_batches + position) / (n_epochs * n_batches))
            pool = easiest_first[: max(math.ceil(share * n), min(batch_size, n))]
            batch = pool[turn[pool].argsort()[:size]]
            turn[batch] += n
            batches.append(batch)
        return torch.cat(batches)
