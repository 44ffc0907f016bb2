"""The frozen trunk: activations at several depths from one pass."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ensemw2s.config.model import Pooling
from ensemw2s.core.batches import length_batches
from ensemw2s.errors import ModelError
from ensemw2s.models.loading.anatomy import final_norm, layers_of
from ensemw2s.models.loading.load import Backbone

OnTokens = Callable[[int], None]


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
    backbone: Backbone, token_ids: Sequence[Sequence[int]], deepest: int, within: Collection[int], *, batch_tokens: int
) -> Iterator[TrunkBatch]:
    """Run the first `deepest` layers batch by batch and keep the hidden states after the layers `within`.

    Batches hold examples of similar length, right-padded to at most `batch_tokens` tokens; a longer example is a batch
    by itself.

    Raises:
        ModelError: a depth is outside 1 to `backbone.n_layers`, an example has no token or one without an embedding,
            or the family keeps its layers where they are not found.
    """
    _check(backbone, token_ids, [deepest, *within])
    model = backbone.cut(deepest).model
    states: dict[int, Tensor] = {}
    hooks = [layers_of(model)[depth - 1].register_forward_hook(_keep(states, depth)) for depth in within]
    try:
        for rows in length_batches([len(ids) for ids in token_ids], batch_tokens):
            ids, mask = pad([token_ids[row] for row in rows], backbone.pad_id)
            ids, mask = ids.to(backbone.device), mask.to(backbone.device)
            with torch.no_grad():
                output = run_model(model, ids, mask)
            yield TrunkBatch(rows, mask, output, dict(states))
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
) -> dict[int, Float[Tensor, "examples dim"]]:
    """Pooled features of each example at each depth, after the final norm, as of a checkpoint cut to that depth.

    Features are pooled as `backbone.pooling` says, in the backbone's dtype, on the CPU, in the order of `token_ids`.
    `on_tokens` is called with the number of tokens of each batch.

    Raises:
        ModelError: as `read_depths`, or, for several depths, the family's final norm is not found.
    """
    deepest = max(depths, default=0)
    # A single depth is the output of the cut model; for several depths the final norm must be known.
    within = set(depths) if len(set(depths)) > 1 else set()
    pooled = {depth: torch.empty(len(token_ids), backbone.feature_size, dtype=backbone.dtype) for depth in depths}
    for n, read in enumerate(read_depths(backbone, token_ids, deepest, within, batch_tokens=batch_tokens)):
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


def run_model(
    model: nn.Module,
    values: Int[Tensor, "batch length"] | Float[Tensor, "batch length dim"],
    mask: Int[Tensor, "batch length"],
) -> Float[Tensor, "batch length dim"]:
    """The model's last hidden states, after its final norm, from token ids or from inputs of its first layer."""
    # An encoder has no `use_cache`; a causal model would keep keys and values that are not used.
    cache = {"use_cache": False} if getattr(model.config, "use_cache", False) else {}
    argument = "inputs_embeds" if values.is_floating_point() else "input_ids"
    return model(**{argument: values}, attention_mask=mask, **cache).last_hidden_state


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


def pad(
    token_ids: Sequence[Sequence[int]], pad_id: int
) -> tuple[Int[Tensor, "batch length"], Int[Tensor, "batch length"]]:
    """Token ids padded on the right to the longest example, and their mask (1 = token)."""
    lengths = torch.tensor([len(ids) for ids in token_ids])
    longest = int(lengths.max())
    ids = torch.tensor([[*ids, *[pad_id] * (longest - len(ids))] for ids in token_ids])
    return ids, (torch.arange(longest) < lengths.unsqueeze(1)).long()


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
