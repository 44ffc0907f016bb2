"""What has been read of a batch of prompts: keys and values, or the tokens themselves where a family keeps no such."""

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from ensemw2s.models.probes import HALF_LIMIT
from ensemw2s.models.trunk import pad

STEPS = 3
"""Tokens after the prompt in `read_by_steps`."""


@dataclass
class Reading:
    """The memory of a batch: keys and values of the trunk and of each member, or all tokens, read anew at each step."""

    caches: list[DynamicCache]
    n_stacked: int = 1
    """Members in the last cache, the rows of one after those of another."""
    mask: Int[Tensor, "batch length"] = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.long))
    tokens: list[list[int]] | None = None
    """Of each row so far, where there are no caches."""

    def extend(
        self, mask: Int[Tensor, "batch length"]
    ) -> tuple[Int[Tensor, "batch whole"], Int[Tensor, "batch length"]]:
        """Take in the mask of the next tokens; returns that of all so far and the positions of the next ones."""
        self.mask = mask if not self.mask.numel() else torch.cat([self.mask, mask], dim=1)
        positions = (self.mask.cumsum(1) - 1).clamp_min(0)
        return self.mask, positions[:, -mask.shape[1] :]

    def keep(self, rows: Int[Tensor, " rows"]) -> None:
        """Go on with these rows alone."""
        if self.tokens is not None:
            self.tokens = [self.tokens[row] for row in rows.tolist()]
            return
        n = len(self.mask)
        self.mask = self.mask[rows]
        for cache in self.caches[:-1]:
            cache.batch_select_indices(rows)
        self.caches[-1].batch_select_indices(torch.cat([rows + n * member for member in range(self.n_stacked)]))


@runtime_checkable
class Reads(Protocol):
    """What reads whole texts."""

    pad_id: int

    def read(
        self, ids: Int[Tensor, "batch length"], mask: Int[Tensor, "batch length"], reading: Reading | None
    ) -> Float[Tensor, "members batch states dim"]:
        """Final states; None reads without a memory."""
        ...


def read_anew(
    members: Reads, ids: Int[Tensor, "batch length"], mask: Int[Tensor, "batch length"], reading: Reading
) -> Float[Tensor, "members batch 1 dim"]:
    """The last state of each row, from all of its tokens, padded on the right: right for every causal model."""
    new = [row[real].tolist() for row, real in zip(ids, mask.bool(), strict=True)]
    reading.tokens = [old + more for old, more in zip(reading.tokens or [[]] * len(new), new, strict=True)]
    states = members.read(*pad(reading.tokens, members.pad_id), None)
    last = torch.tensor([len(tokens) - 1 for tokens in reading.tokens])
    return states[:, torch.arange(len(last)), last].unsqueeze(2)


@torch.no_grad()
def read_by_steps(members: Reads, reading: Reading, texts: list[list[int]]) -> Float[Tensor, "members states dim"]:
    """States as decoding meets them: the prompt (all but the last tokens), then token by token; rows drop out."""
    prompts = [text[:-STEPS] for text in texts]
    longest = max(map(len, prompts))
    ids = torch.tensor([[members.pad_id] * (longest - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    found = [members.read(ids, mask, reading)[:, :, -1]]
    alive = list(range(len(texts)))
    for step in range(STEPS):
        ids = torch.tensor([[texts[row][step - STEPS]] for row in alive])
        found.append(members.read(ids, torch.ones_like(ids), reading)[:, :, -1])
        if step == 0:
            alive = alive[1:]
            reading.keep(torch.arange(1, len(texts)))
    return torch.cat(found, dim=1)


@torch.no_grad()
def read_at_once(members: Reads, texts: list[list[int]]) -> Float[Tensor, "members states dim"]:
    """The states of `read_by_steps`, without a memory."""
    states = members.read(*pad(texts, members.pad_id), None)
    lengths = torch.tensor([len(text) for text in texts])
    found = []
    for step in range(STEPS + 1):
        rows = torch.arange(len(texts))[(1 if step > 1 else 0) :]
        found.append(states[:, rows, lengths[rows] - STEPS - 1 + step])
    return torch.cat(found, dim=1)


def step_texts(texts: list[list[int]]) -> list[list[int]]:
    """Texts for `read_by_steps`: what follows each is the beginning of the first."""
    return [text + texts[0][:STEPS] for text in texts]


def log_prob_limit(dtype: torch.dtype) -> float:
    """How far log-probabilities may lie apart by rounding, relative to the largest."""
    return 2e-4 if dtype == torch.float32 else HALF_LIMIT
