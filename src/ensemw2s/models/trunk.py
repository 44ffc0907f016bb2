"""The frozen trunk: activations at several depths from one pass, also of texts behind a prefix that is read once."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ensemw2s.config.model import Pooling
from ensemw2s.core.batches import length_batches
from ensemw2s.errors import ModelError
from ensemw2s.models.loading.anatomy import final_norm, layers_of
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.passes import pad, reading_behind

OnTokens = Callable[[int], None]
PREFIX_SHARE = 4
"""A prefix token counts as this part of a token in a batch: of it a row has keys and values alone."""


@dataclass(frozen=True)
class TrunkBatch:
    """Output of the trunk for one batch."""

    rows: list[int]
    mask: Int[Tensor, "batch length"]
    """1 = token, 0 = padding."""
    output: Float[Tensor, "batch length features"]
    """Output of the model cut to the deepest layer."""
    states: dict[int, Float[Tensor, "batch length dim"]]
    """Hidden states by depth, before the final norm."""


def read_depths(
    backbone: Backbone,
    token_ids: Sequence[Sequence[int]],
    deepest: int,
    within: Collection[int],
    *,
    batch_tokens: int,
    prefix: Sequence[int] = (),
) -> Iterator[TrunkBatch]:
    """Run the first `deepest` layers batch by batch and keep the hidden states after the layers `within`.

    Batches hold examples of similar length, right-padded to at most `batch_tokens` tokens; a longer example is a batch
    by itself.

    Args:
        prefix: tokens that stand before every example, of a causal model: read once, and no part of the output.

    Raises:
        ModelError: a depth is outside 1 to `backbone.n_layers`, an example has no token or one without an embedding,
            or the family keeps its layers where they are not found.
    """
    _check(backbone, token_ids, [deepest, *within])
    if prefix:
        check_tokens(backbone, [prefix])
    cut = backbone.cut(deepest)
    model, run = cut.model, reading_behind(cut, prefix)
    states: dict[int, Tensor] = {}
    hooks = [layers_of(model)[depth - 1].register_forward_hook(_keep(states, depth)) for depth in within]
    try:
        for rows in length_batches([len(ids) + len(prefix) // PREFIX_SHARE for ids in token_ids], batch_tokens):
            ids, mask = pad([token_ids[row] for row in rows], backbone.pad_id)
            ids, mask = ids.to(backbone.device), mask.to(backbone.device)
            with torch.no_grad():
                output = run(ids, mask)
            own = slice(-ids.shape[1], None)
            yield TrunkBatch(rows, mask, output[:, own], {depth: state[:, own] for depth, state in states.items()})
            states.clear()
    finally:
        for hook in hooks:
            hook.remove()


def pooled_features(
    backbone: Backbone,
    token_ids: Sequence[Sequence[int]],
    depths: Sequence[int],
    *,
    batch_tokens: int,
    on_tokens: OnTokens | None = None,
    prefix: Sequence[int] = (),
) -> dict[int, Float[Tensor, "examples dim"]]:
    """Pooled features of each example at each depth, after the final norm, as of a checkpoint cut to that depth.

    Features are pooled as `backbone.pooling` says, over the example's own tokens, in the backbone's dtype, on the CPU,
    in the order of `token_ids`. `on_tokens` is called with the number of tokens of each batch; `prefix` is as in
    `read_depths`.

    Raises:
        ModelError: as `read_depths`, or, for several depths, the family's final norm is not found.
    """
    deepest = max(depths, default=0)
    # A single depth is the output of the cut model; for several depths the final norm must be known.
    within = set(depths) if len(set(depths)) > 1 else set()
    pooled = {depth: torch.empty(len(token_ids), backbone.feature_size, dtype=backbone.dtype) for depth in depths}
    batches = read_depths(backbone, token_ids, deepest, within, batch_tokens=batch_tokens, prefix=prefix)
    for n, read in enumerate(batches):
        with torch.no_grad():
            features = {deepest: read.output} | {d: final_norm(backbone.model)(read.states[d]) for d in within}
            if n == 0 and within:
                _check_norm(backbone, features[deepest], read.output)
            for depth in depths:
                pooled[depth][read.rows] = pool(features[depth], read.mask, backbone.pooling).cpu()
        if on_tokens:
            on_tokens(int(read.mask.sum()))
    return pooled


def token_activations(
    backbone: Backbone,
    token_ids: Sequence[Sequence[int]],
    depth: int,
    *,
    batch_tokens: int,
    on_tokens: OnTokens | None = None,
) -> tuple[Float[Tensor, "tokens dim"], Int[Tensor, " boundaries"]]:
    """Hidden states of every token after `depth` layers, without the final norm, end to end in one tensor.

    Example i has the rows `offsets[i]` to `offsets[i + 1]`. States are in the backbone's dtype, on the CPU.

    Raises:
        ModelError: as `read_depths`.
    """
    offsets = torch.tensor([0, *(len(ids) for ids in token_ids)]).cumsum(0)
    values = torch.empty(int(offsets[-1]), backbone.hidden_size, dtype=backbone.dtype)
    for read in read_depths(backbone, token_ids, depth, [depth], batch_tokens=batch_tokens):
        for i, row in enumerate(read.rows):
            start, stop = int(offsets[row]), int(offsets[row + 1])
            values[start:stop] = read.states[depth][i, : stop - start].cpu()
        if on_tokens:
            on_tokens(int(read.mask.sum()))
    return values, offsets


def pool(
    hidden: Float[Tensor, "batch length dim"], mask: Int[Tensor, "batch length"], pooling: Sequence[Pooling]
) -> Float[Tensor, "batch features"]:
    """Pool right-padded states: for each entry of `pooling` the last token, the mean over tokens or the first token,
    side by side."""
    return torch.cat([_POOLED[name](hidden, mask) for name in pooling], dim=1)


def _mean(hidden: Float[Tensor, "batch length dim"], mask: Int[Tensor, "batch length"]) -> Float[Tensor, "batch dim"]:
    weight = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weight).sum(1) / weight.sum(1)


_POOLED: dict[Pooling, Callable[[Tensor, Tensor], Tensor]] = {
    "last": lambda hidden, mask: hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1) - 1],
    "mean": _mean,
    "cls": lambda hidden, mask: hidden[:, 0],
}


def _keep(states: dict[int, Tensor], depth: int) -> Callable[[nn.Module, object, Tensor | tuple[Tensor, ...]], None]:
    def hook(_layer: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        states[depth] = output if isinstance(output, Tensor) else output[0]

    return hook


def check_tokens(backbone: Backbone, token_ids: Sequence[Sequence[int]]) -> None:
    """Check token ids against the embeddings.

    Raises:
        ModelError: an example has no token, or one without an embedding.
    """
    rows = backbone.n_tokens
    for i, ids in enumerate(token_ids):
        if not ids:
            raise ModelError(f"{backbone.name}: example {i} has no token; give every example a non-empty prompt")
        if not 0 <= min(ids) <= max(ids) < rows:
            outside = next(token for token in ids if not 0 <= token < rows)
            raise ModelError(
                f"{backbone.name}: example {i} has the token {backbone.tokenizer.convert_ids_to_tokens(outside)!r}, "
                f"number {outside}, but the model has embeddings of 0 to {rows - 1} alone: its tokenizer is of another "
                "model; put the model's own tokenizer into its folder, or leave that text out of the prompts"
            )


def _check(backbone: Backbone, token_ids: Sequence[Sequence[int]], depths: Sequence[int]) -> None:
    wrong = [depth for depth in depths if not 1 <= depth <= backbone.n_layers]
    if wrong:
        raise ModelError(
            f"{backbone.name}: depths must lie within 1 and {backbone.n_layers} (its layers), got {sorted(set(depths))}"
        )
    check_tokens(backbone, token_ids)


def _check_norm(backbone: Backbone, ours: Tensor, theirs: Tensor) -> None:
    if ours.shape != theirs.shape or not torch.allclose(ours.float(), theirs.float(), rtol=1e-2, atol=1e-3):
        raise ModelError(
            f"{backbone.name}: the {type(backbone.model).__name__} family does something after its last "
            "layer that this package does not know, so its middle layers cannot be read; use another family"
        )
