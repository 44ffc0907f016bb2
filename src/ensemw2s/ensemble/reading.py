"""State of decoding a batch: cached keys and values, or the tokens themselves for families without such a cache."""

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad as padded
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from ensemw2s.models.passes import pad
from ensemw2s.models.probes import HALF_LIMIT

STEPS = 3
"""Number of tokens after the prompt in `read_by_steps`."""


@dataclass
class Reading:
    """Cached keys and values of the trunk and of each member, or all tokens, which are then read anew at each step."""

    caches: list[DynamicCache]
    n_stacked: int = 1
    """Number of members whose rows are in the last cache, member by member."""
    mask: Int[Tensor, "batch length"] = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.long))
    tokens: list[list[int]] | None = None
    """Tokens of each row so far, where there are no caches."""

    def extend(
        self, mask: Int[Tensor, "batch length"]
    ) -> tuple[Int[Tensor, "batch whole"], Int[Tensor, "batch length"]]:
        """Append the mask of the next tokens. Returns the mask of all tokens and the positions of the next ones."""
        self.mask = mask if not self.mask.numel() else torch.cat([self.mask, mask], dim=1)
        positions = (self.mask.cumsum(1) - 1).clamp_min(0)
        return self.mask, positions[:, -mask.shape[1] :]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is read yet."""
        return not self.mask.numel() and not self.tokens

    def repeat(self, n_rows: int) -> None:
        """As many copies of the one row."""
        self.mask = self.mask.repeat(n_rows, 1)
        for cache in self.caches:
            cache.batch_repeat_interleave(n_rows)

    def keep(self, rows: Int[Tensor, " rows"]) -> None:
        """Keep only these rows."""
        if self.tokens is not None:
            self.tokens = [self.tokens[row] for row in rows.tolist()]
            return
        n = len(self.mask)
        self.mask = self.mask[rows]
        for cache in self.caches[:-1]:
            cache.batch_select_indices(rows)
        self.caches[-1].batch_select_indices(torch.cat([rows + n * member for member in range(self.n_stacked)]))

    @property
    def can_be_joined(self) -> bool:
        """Whether `join` knows how the keys and values are kept."""
        layers = [layer for cache in self.caches for layer in cache.layers]
        return self.tokens is not None or all(type(layer) is DynamicLayer for layer in layers)

    def join(self, other: "Reading") -> None:
        """Add the rows of another reading by the same models; the shorter of the two is padded on the left."""
        if self.tokens is not None:
            self.tokens += other.tokens or []
            return
        unused = int((self.mask.sum(0) == 0).long().argmin())  # columns of longer rows that have left
        width = max(self.mask.shape[1] - unused, other.mask.shape[1])
        for place, (cache, new) in enumerate(zip(self.caches, other.caches, strict=True)):
            n = self.n_stacked if place == len(self.caches) - 1 else 1
            for layer, added in zip(cache.layers, new.layers, strict=True):
                assert isinstance(layer, DynamicLayer)
                assert isinstance(added, DynamicLayer)
                layer.keys = _beside(layer.keys, added.keys, unused, width, n)
                layer.values = _beside(layer.values, added.values, unused, width, n)
        masks = (self.mask[:, unused:], other.mask)
        self.mask = torch.cat([padded(mask, (width - mask.shape[1], 0)) for mask in masks])


def _beside(
    values: Float[Tensor, "rows heads length dim"] | None,
    others: Float[Tensor, "new_rows heads new_length dim"] | None,
    unused: int,
    width: int,
    n_members: int,
) -> Float[Tensor, "all_rows heads width dim"]:
    """Rows of both, the first without their unused columns, padded on the left; all are ordered member by member."""
    assert values is not None
    assert others is not None
    pair = (values[..., unused:, :], others)
    both = [padded(v, (0, 0, width - v.shape[-2], 0)).unflatten(0, (n_members, -1)) for v in pair]
    return torch.cat(both, dim=1).flatten(0, 1)


@runtime_checkable
class Reads(Protocol):
    """Models that read whole texts."""

    pad_id: int

    def read(
        self, ids: Int[Tensor, "batch length"], mask: Int[Tensor, "batch length"], reading: Reading | None
    ) -> Float[Tensor, "members batch states dim"]:
        """Final states; without a `reading` nothing is cached."""
        ...


def read_anew(
    members: Reads, ids: Int[Tensor, "batch length"], mask: Int[Tensor, "batch length"], reading: Reading
) -> Float[Tensor, "members batch 1 dim"]:
    """Last state of each row from all of its tokens, right-padded, which is valid for every causal model."""
    new = [row[is_token].tolist() for row, is_token in zip(ids, mask.bool(), strict=True)]
    reading.tokens = [old + more for old, more in zip(reading.tokens or [[]] * len(new), new, strict=True)]
    states = members.read(*pad(reading.tokens, members.pad_id), None)
    last = torch.tensor([len(tokens) - 1 for tokens in reading.tokens])
    return states[:, torch.arange(len(last)), last].unsqueeze(2)


@torch.no_grad()
def read_by_steps(members: Reads, reading: Reading, texts: list[list[int]]) -> Float[Tensor, "members states dim"]:
    """States as in decoding: the prompt (all but the last tokens), then token by token, while rows drop out."""
    prompts = [text[:-STEPS] for text in texts]
    longest = max(map(len, prompts))
    ids = torch.tensor([[members.pad_id] * (longest - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    states = [members.read(ids, mask, reading)[:, :, -1]]
    alive = list(range(len(texts)))
    for step in range(STEPS):
        ids = torch.tensor([[texts[row][step - STEPS]] for row in alive])
        states.append(members.read(ids, torch.ones_like(ids), reading)[:, :, -1])
        if step == 0:
            alive = alive[1:]
            reading.keep(torch.arange(1, len(texts)))
    return torch.cat(states, dim=1)


@torch.no_grad()
def read_at_once(members: Reads, texts: list[list[int]]) -> Float[Tensor, "members states dim"]:
    """States of `read_by_steps`, computed in one pass without a cache."""
    states = members.read(*pad(texts, members.pad_id), None)
    lengths = torch.tensor([len(text) for text in texts])
    selected = []
    for step in range(STEPS + 1):
        rows = torch.arange(len(texts))[(1 if step > 1 else 0) :]
        selected.append(states[:, rows, lengths[rows] - STEPS - 1 + step])
    return torch.cat(selected, dim=1)


def step_texts(texts: list[list[int]]) -> list[list[int]]:
    """Texts for `read_by_steps`: each text followed by the first tokens of the first."""
    return [text + texts[0][:STEPS] for text in texts]


def log_prob_limit(dtype: torch.dtype) -> float:
    """Largest difference of log-probabilities due to rounding, relative to the largest."""
    return 2e-4 if dtype == torch.float32 else HALF_LIMIT
