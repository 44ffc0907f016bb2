"""Inputs of trainable modules, by row: cached or recomputed activations, embeddings, or token ids."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.passes import pad
from ensemw2s.models.trunk import pooled_features, token_activations
from ensemw2s.records import Inputs


@dataclass(frozen=True)
class PooledInputs:
    """One pooled feature per example, in shards of equally many rows (the last may be shorter)."""

    shards: tuple[Float[Tensor, "_ dim"], ...]
    lengths: Int[Tensor, " examples"]

    def batch(self, rows: Int[Tensor, " batch"]) -> tuple[Float[Tensor, "batch 1 dim"], Int[Tensor, "batch 1"]]:
        """The features of these rows in float32, as sequences of length 1."""
        shard_of, place = rows // len(self.shards[0]), rows % len(self.shards[0])
        values = torch.empty(len(rows), self.shards[0].shape[1], dtype=self.shards[0].dtype)
        for shard in shard_of.unique().tolist():
            in_shard = shard_of == shard
            values[in_shard] = self.shards[shard][place[in_shard]]
        return values.float().unsqueeze(1), torch.ones(len(rows), 1, dtype=torch.long)

    def part(self, number: int, width: int) -> "PooledInputs":
        """One of several poolings that lie side by side, without a copy."""
        return PooledInputs(tuple(s[:, number * width : (number + 1) * width] for s in self.shards), self.lengths)


@dataclass(frozen=True)
class DifferenceInputs:
    """Differences of pooled features: row k is the feature of `plus[k]` less that of `minus[k]`."""

    pooled: Inputs
    plus: Int[Tensor, " pairs"]
    minus: Int[Tensor, " pairs"]

    @property
    def lengths(self) -> Int[Tensor, " pairs"]:
        return self.pooled.lengths[self.plus] + self.pooled.lengths[self.minus]

    def batch(self, rows: Int[Tensor, " batch"]) -> tuple[Float[Tensor, "batch 1 dim"], Int[Tensor, "batch 1"]]:
        """The differences of these rows, as sequences of length 1."""
        plus, mask = self.pooled.batch(self.plus[rows])
        return plus - self.pooled.batch(self.minus[rows])[0], mask


@dataclass(frozen=True)
class TokenInputs:
    """Every token's activation, in shards of equally many examples, each with its offsets."""

    shards: tuple[tuple[Float[Tensor, "_ dim"], Int[Tensor, " _"]], ...]
    lengths: Int[Tensor, " examples"]

    def batch(
        self, rows: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch length dim"], Int[Tensor, "batch length"]]:
        """The activations of these rows in float32, right-padded with zeros."""
        return pad_values([self._example(row) for row in rows.tolist()])

    def _example(self, row: int) -> Tensor:
        size = len(self.shards[0][1]) - 1
        values, offsets = self.shards[row // size]
        return values[int(offsets[row % size]) : int(offsets[row % size + 1])]


@dataclass(frozen=True)
class IdInputs:
    """Token ids, for modules that run the whole model."""

    token_ids: tuple[tuple[int, ...], ...]
    pad_id: int

    @property
    def lengths(self) -> Int[Tensor, " examples"]:
        return torch.tensor([len(ids) for ids in self.token_ids])

    def batch(self, rows: Int[Tensor, " batch"]) -> tuple[Int[Tensor, "batch length"], Int[Tensor, "batch length"]]:
        """The ids of these rows, right-padded."""
        return pad([self.token_ids[row] for row in rows.tolist()], self.pad_id)


@dataclass(frozen=True)
class JoinedInputs:
    """The token activations of several sets, one after the other."""

    parts: tuple[Inputs, ...]

    @property
    def lengths(self) -> Int[Tensor, " examples"]:
        return torch.cat([part.lengths for part in self.parts])

    def batch(
        self, rows: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch length dim"], Int[Tensor, "batch length"]]:
        """Activations of these rows of all sets, right-padded to the longest."""
        examples: list[Tensor] = [torch.empty(0)] * len(rows)
        start = 0
        for part in self.parts:
            n = len(part.lengths)
            in_part = ((rows >= start) & (rows < start + n)).nonzero()[:, 0]
            if len(in_part):
                values, mask = part.batch(rows[in_part] - start)
                for place, value, length in zip(in_part.tolist(), values, mask.sum(1).tolist(), strict=True):
                    examples[place] = value[:length]
            start += n
        return pad_values(examples)


@dataclass(frozen=True)
class EmbeddedInputs:
    """Input embeddings, for modules that train every layer, so that there is no trunk to cache."""

    backbone: Backbone
    token_ids: tuple[tuple[int, ...], ...]

    @property
    def lengths(self) -> Int[Tensor, " examples"]:
        return torch.tensor([len(ids) for ids in self.token_ids])

    def batch(
        self, rows: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch length dim"], Int[Tensor, "batch length"]]:
        """The embeddings of these rows' tokens, right-padded."""
        ids, mask = pad([self.token_ids[row] for row in rows.tolist()], self.backbone.pad_id)
        with torch.no_grad():
            return self.backbone.model.get_input_embeddings()(ids.to(self.backbone.device)).float().cpu(), mask


@dataclass(frozen=True)
class RecomputedInputs:
    """Activations that are not stored; every batch runs the trunk again."""

    backbone: Backbone
    """Backbone cut to the depth of the activations."""
    token_ids: tuple[tuple[int, ...], ...]
    pooled: bool
    batch_tokens: int
    prefix: tuple[int, ...] = ()
    """Tokens before every text, where features are pooled."""

    @property
    def lengths(self) -> Int[Tensor, " examples"]:
        return torch.tensor([len(self.prefix) + len(ids) for ids in self.token_ids])

    def batch(
        self, rows: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch length dim"], Int[Tensor, "batch length"]]:
        """Activations of these rows, as from `PooledInputs` or `TokenInputs`."""
        ids, depth = [self.token_ids[row] for row in rows.tolist()], self.backbone.n_layers
        if self.pooled:
            read = pooled_features(self.backbone, ids, [depth], batch_tokens=self.batch_tokens, prefix=self.prefix)
            values = read[depth]
            return values.float().unsqueeze(1), torch.ones(len(ids), 1, dtype=torch.long)
        values, offsets = token_activations(self.backbone, ids, depth, batch_tokens=self.batch_tokens)
        return pad_values([values[a:b] for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)])


def pad_values(
    values: Sequence[Float[Tensor, "_ dim"]],
) -> tuple[Float[Tensor, "batch length dim"], Int[Tensor, "batch length"]]:
    """Sequences of vectors as one float32 batch, padded with zeros on the right, and its mask."""
    lengths = torch.tensor([len(v) for v in values])
    padded = torch.zeros(len(values), int(lengths.max()), values[0].shape[1])
    for i, v in enumerate(values):
        padded[i, : len(v)] = v
    return padded, (torch.arange(padded.shape[1]) < lengths.unsqueeze(1)).long()
