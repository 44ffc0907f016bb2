"""Inputs of trainable modules: the trunk's activations, cached shard by shard or recomputed."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

import torch
import transformers
from jaxtyping import Int
from torch import Tensor

from ensemw2s.config import CacheConfig, ModelConfig, canonical_hash
from ensemw2s.errors import ConfigError
from ensemw2s.meter import Advance, working
from ensemw2s.models.adapting.upper import own_layers
from ensemw2s.models.inputs import EmbeddedInputs, IdInputs, PooledInputs, RecomputedInputs, TokenInputs
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.loading.pooling import standard_pooling
from ensemw2s.models.trunk import OnTokens, check_tokens, pooled_features, token_activations
from ensemw2s.records import Inputs, TensorStore

KIND = "activations"
VERSION = 1
"""Raise it when the meaning of the stored tensors changes."""

Where = Literal["memory", "disk", "off"]


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
    """Inputs of the adapter of `config` on a backbone of at least `config.n_layers` layers.

    `head`: the feature pooled after the last of those layers. `top`: every token's activation below the
    `config.top_layers` upper ones; `lora` likewise with `config.lora_layers`. `lora` on all layers and `full`: the
    token ids. Shards of `cache.shard_rows` examples are computed and stored one by one, so that an interruption costs
    one shard. `base_key` is part of their keys.

    Raises:
        ConfigError: `cache.trunk_cache` is `memory` or `disk` and the activations exceed the budget.
        ModelError: a depth is outside the backbone, or an example has no token or one without an embedding.
    """
    depth = config.n_layers or backbone.n_layers
    below = depth - own_layers(config, backbone.cut(depth).n_layers)
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
    with _reading(backbone, lengths) as advance:
        told = _telling(advance, on_tokens)
        for part in _shards(token_ids, cache.shard_rows):
            key = _key(backbone, part, below, "token", base_key)
            shard = store.get(KIND, key) if where == "disk" else None
            if shard is None:
                values, offsets = token_activations(
                    backbone, part, below, batch_tokens=cache.batch_tokens, on_tokens=told
                )
                shard = {"values": values, "offsets": offsets}
                if where == "disk":
                    shard = store.put(KIND, key, shard)  # memory-mapped, so that our copy in memory is freed
            else:
                advance(sum(map(len, part)))
            shards.append((shard["values"], shard["offsets"]))
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
    prefix: Sequence[int] = (),
) -> dict[int, PooledInputs | RecomputedInputs]:
    """Pooled features of several depths in one pass; weak and strong models are often cuts of one checkpoint.

    Args:
        prefix: tokens before every example, read once (causal models).

    Raises:
        ConfigError, ModelError: as `open_activations`; the budget is that of all depths together.
    """
    lengths = torch.tensor([len(ids) for ids in token_ids])
    needed = len(set(depths)) * activation_bytes(lengths, backbone.feature_size, backbone.dtype, pooled=True)
    where = _where(needed, cache)
    if where == "off":
        frozen, before = _frozen(token_ids), tuple(prefix)
        return {d: RecomputedInputs(backbone.cut(d), frozen, True, cache.batch_tokens, before) for d in depths}
    shards: dict[int, list[Tensor]] = {depth: [] for depth in depths}
    with _reading(backbone, lengths) as advance:
        told = _telling(advance, on_tokens)
        for part in _shards(token_ids, cache.shard_rows):
            keys = {depth: _key(backbone, part, depth, "pooled", base_key, prefix) for depth in depths}
            stored = {depth: store.get(KIND, keys[depth]) if where == "disk" else None for depth in depths}
            absent = [depth for depth in depths if stored[depth] is None]
            new = {}
            if absent:
                new = pooled_features(
                    backbone, part, absent, batch_tokens=cache.batch_tokens, on_tokens=told, prefix=prefix
                )
            else:
                advance(sum(map(len, part)))
            for depth in depths:
                entry = stored[depth] or {"values": new[depth]}
                if where == "disk" and depth in absent:
                    entry = store.put(KIND, keys[depth], entry)
                shards[depth].append(entry["values"])
    return {depth: PooledInputs(tuple(shards[depth]), lengths + len(prefix)) for depth in depths}


def _reading(backbone: Backbone, lengths: Int[Tensor, " examples"]) -> AbstractContextManager[Advance]:
    return working(f"{Path(backbone.name).name} reads", "tokens", int(lengths.sum()))


def _telling(advance: Advance, on_tokens: OnTokens | None) -> OnTokens:
    def told(n: int) -> None:
        advance(n)
        if on_tokens:
            on_tokens(n)

    return told


def activation_bytes(lengths: Int[Tensor, " examples"], dim: int, dtype: torch.dtype, pooled: bool) -> int:
    """Bytes of the activations of these examples: one vector per example if pooled, else one per token."""
    vectors = len(lengths) if pooled else int(lengths.sum())
    return vectors * dim * dtype.itemsize


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


def _key(
    backbone: Backbone,
    part: Sequence[Sequence[int]],
    depth: int,
    what: str,
    base_key: str,
    prefix: Sequence[int] = (),
) -> str:
    # The standard pooling and an absent prefix are not named, so that what older stores hold stays good.
    is_named = what == "pooled" and backbone.pooling != standard_pooling(is_causal=backbone.is_causal)
    return canonical_hash(
        {
            "version": VERSION,
            **({"pooling": backbone.pooling} if is_named else {}),
            **({"prefix": list(prefix)} if prefix else {}),
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
