"""What a trainable module reads: the trunk's activations, cached shard by shard or recomputed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import transformers
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.config import CacheConfig, ModelConfig, canonical_hash
from ensemw2s.errors import ConfigError
from ensemw2s.models.loading.load import Backbone
from ensemw2s.models.trunk import OnTokens, check_tokens, pad, pooled_features, token_activations
from ensemw2s.models.upper import own_layers
from ensemw2s.records import Inputs, TensorStore

KIND = "activations"
VERSION = 1
"""Raise it when the meaning of the stored tensors changes."""

Where = Literal["memory", "disk", "off"]


@dataclass(frozen=True)
class PooledInputs:
    """One feature per example, in shards of equally many rows (the last may be shorter)."""

    shards: tuple[Float[Tensor, "_ dim"], ...]
    lengths: Int[Tensor, " examples"]

    def batch(self, rows: Int[Tensor, " batch"]) -> tuple[Float[Tensor, "batch 1 dim"], Int[Tensor, "batch 1"]]:
        """The features of these rows in float32, as sequences of length 1."""
        shard_of, place = rows // len(self.shards[0]), rows % len(self.shards[0])
        values = torch.empty(len(rows), self.shards[0].shape[1], dtype=self.shards[0].dtype)
        for shard in shard_of.unique().tolist():
            here = shard_of == shard
            values[here] = self.shards[shard][place[here]]
        return values.float().unsqueeze(1), torch.ones(len(rows), 1, dtype=torch.long)


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
    """Token ids, for a module that runs the whole model itself."""

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
        """The rows wherever they lie, right-padded to the longest."""
        found: list[Tensor] = [torch.empty(0)] * len(rows)
        start = 0
        for part in self.parts:
            n = len(part.lengths)
            here = ((rows >= start) & (rows < start + n)).nonzero()[:, 0]
            if len(here):
                values, mask = part.batch(rows[here] - start)
                for place, value, length in zip(here.tolist(), values, mask.sum(1).tolist(), strict=True):
                    found[place] = value[:length]
            start += n
        return pad_values(found)


@dataclass(frozen=True)
class EmbeddedInputs:
    """Input embeddings, for a module that owns every layer: there is no trunk to cache."""

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
    """Activations that are kept nowhere: every batch runs the trunk again."""

    backbone: Backbone
    """Cut to the depth that is read."""
    token_ids: tuple[tuple[int, ...], ...]
    pooled: bool
    batch_tokens: int

    @property
    def lengths(self) -> Int[Tensor, " examples"]:
        return torch.tensor([len(ids) for ids in self.token_ids])

    def batch(
        self, rows: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch length dim"], Int[Tensor, "batch length"]]:
        """What `PooledInputs` or `TokenInputs` would give for these rows."""
        ids, depth = [self.token_ids[row] for row in rows.tolist()], self.backbone.n_layers
        if self.pooled:
            values = pooled_features(self.backbone, ids, [depth], batch_tokens=self.batch_tokens)[depth]
            return values.float().unsqueeze(1), torch.ones(len(ids), 1, dtype=torch.long)
        values, offsets = token_activations(self.backbone, ids, depth, batch_tokens=self.batch_tokens)
        return pad_values([values[a:b] for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)])


def open_activations(
    backbone: Backbone,
    token_ids: Sequence[Sequence[int]],
    *,
    config: ModelConfig,
    cache: CacheConfig,
    store: TensorStore,
    base_key: str = "",
    on_tokens: OnTokens | None = None,
) -> Inputs:
    """What the adapter of `config` reads from a backbone of at least `config.n_layers` layers.

    `head`: the feature pooled after the last of those layers. `top`: every token's activation below the
    `config.top_layers` upper ones; `lora` likewise with `config.lora_layers`. `lora` on all layers and `full`: the
    token ids. Shards of `cache.shard_rows` examples are computed and stored one by one, so an interruption costs one;
    `base_key` goes into their keys.

    Raises:
        ConfigError: `cache.trunk_cache` is `memory` or `disk` and the activations exceed the budget.
        ModelError: a depth is outside the backbone, or an example has no token or one without an embedding.
    """
    depth = config.n_layers or backbone.n_layers
    below = depth - own_layers(config, backbone.cut(depth))
    if config.adapter in ("lora", "full") and below == 0:
        check_tokens(backbone, token_ids)
        return IdInputs(_frozen(token_ids), backbone.pad_id)
    if config.adapter == "head":
        return pooled_for_depths(
            backbone, token_ids, [depth], cache=cache, store=store, base_key=base_key, on_tokens=on_tokens
        )[depth]
    if below == 0:
        return EmbeddedInputs(backbone, _frozen(token_ids))
    lengths = torch.tensor([len(ids) for ids in token_ids])
    where = _where(activation_bytes(lengths, backbone.hidden_size, backbone.dtype, pooled=False), cache)
    if where == "off":
        return RecomputedInputs(backbone.cut(below), _frozen(token_ids), False, cache.batch_tokens)
    shards = []
    for part in _shards(token_ids, cache.shard_rows):
        key = _key(backbone, part, below, "token", base_key)
        found = store.get(KIND, key) if where == "disk" else None
        if found is None:
            values, offsets = token_activations(
                backbone, part, below, batch_tokens=cache.batch_tokens, on_tokens=on_tokens
            )
            found = {"values": values, "offsets": offsets}
            if where == "disk":
                found = store.put(KIND, key, found)  # the store's own copy is memory-mapped: ours is let go
        shards.append((found["values"], found["offsets"]))
    return TokenInputs(tuple(shards), lengths)


def pooled_for_depths(
    backbone: Backbone,
    token_ids: Sequence[Sequence[int]],
    depths: Sequence[int],
    *,
    cache: CacheConfig,
    store: TensorStore,
    base_key: str = "",
    on_tokens: OnTokens | None = None,
) -> dict[int, PooledInputs | RecomputedInputs]:
    """Pooled features of several depths in one pass: weak and strong are often cuts of one checkpoint.

    Raises:
        ConfigError, ModelError: as `open_activations`; the budget holds for all depths together.
    """
    lengths = torch.tensor([len(ids) for ids in token_ids])
    needed = len(set(depths)) * activation_bytes(lengths, backbone.feature_size, backbone.dtype, pooled=True)
    where = _where(needed, cache)
    if where == "off":
        return {d: RecomputedInputs(backbone.cut(d), _frozen(token_ids), True, cache.batch_tokens) for d in depths}
    shards: dict[int, list[Tensor]] = {depth: [] for depth in depths}
    for part in _shards(token_ids, cache.shard_rows):
        keys = {depth: _key(backbone, part, depth, "pooled", base_key) for depth in depths}
        found = {depth: store.get(KIND, keys[depth]) if where == "disk" else None for depth in depths}
        absent = [depth for depth in depths if found[depth] is None]
        new = {}
        if absent:
            new = pooled_features(backbone, part, absent, batch_tokens=cache.batch_tokens, on_tokens=on_tokens)
        for depth in depths:
            entry = found[depth] or {"values": new[depth]}
            if where == "disk" and depth in absent:
                entry = store.put(KIND, keys[depth], entry)
            shards[depth].append(entry["values"])
    return {depth: PooledInputs(tuple(shards[depth]), lengths) for depth in depths}


def activation_bytes(lengths: Int[Tensor, " examples"], dim: int, dtype: torch.dtype, pooled: bool) -> int:
    """Bytes that the activations of these examples take: one vector per example, or one per token."""
    vectors = len(lengths) if pooled else int(lengths.sum())
    return vectors * dim * dtype.itemsize


def pad_values(
    values: Sequence[Float[Tensor, "_ dim"]],
) -> tuple[Float[Tensor, "batch length dim"], Int[Tensor, "batch length"]]:
    """Sequences of vectors as one float32 batch, padded with zeros on the right, and its mask."""
    lengths = torch.tensor([len(v) for v in values])
    padded = torch.zeros(len(values), int(lengths.max()), values[0].shape[1])
    for i, v in enumerate(values):
        padded[i, : len(v)] = v
    return padded, (torch.arange(padded.shape[1]) < lengths.unsqueeze(1)).long()


def _where(needed: int, cache: CacheConfig) -> Where:
    fits = needed <= cache.budget_gib * 2**30
    if cache.trunk_cache == "auto":
        return "disk" if fits else "off"
    if cache.trunk_cache != "off" and not fits:
        raise ConfigError(
            f"cache.trunk_cache is {cache.trunk_cache!r}, but the activations need {needed / 2**30:.3g} GiB "
            f"and cache.budget_gib allows {cache.budget_gib:g}; raise the budget, or set trunk_cache to "
            "'off' to recompute them"
        )
    return cache.trunk_cache


def _key(backbone: Backbone, part: Sequence[Sequence[int]], depth: int, what: str, base_key: str) -> str:
    return canonical_hash(
        {
            "version": VERSION,
            "base": base_key,
            "model": backbone.fingerprint,
            "depth": depth,
            "what": what,
            "tokens": canonical_hash([list(ids) for ids in part]),
            "dtype": str(backbone.dtype),
            "device": backbone.device.type,
            "attention": backbone.model.config._attn_implementation,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }
    )


def _shards(token_ids: Sequence[Sequence[int]], rows: int) -> list[Sequence[Sequence[int]]]:
    return [token_ids[start : start + rows] for start in range(0, len(token_ids), rows)]


def _frozen(token_ids: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(ids) for ids in token_ids)
