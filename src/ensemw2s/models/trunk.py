"""One pass through the frozen trunk gives the activations of several depths."""

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ensemw2s.errors import ModelError
from ensemw2s.models.anatomy import final_norm, layers_of
from ensemw2s.models.load import Backbone

OnTokens = Callable[[int], None]


def forward_depths(
    backbone: Backbone, token_ids: Sequence[Sequence[int]], depths: Sequence[int], *, batch_tokens: int
) -> Iterator[tuple[list[int], Int[Tensor, "batch length"], dict[int, Float[Tensor, "batch length dim"]]]]:
    """Hidden states after each of the `depths` layers, before the final norm, batch by batch.

    Batches hold examples of like length, right-padded, of at most `batch_tokens` tokens with the padding (a
    longer example is a batch by itself). Nothing above the deepest layer asked for is computed.

    Yields:
        The rows of `token_ids` in the batch, their mask (1 = real), and depth to hidden states.

    Raises:
        ModelError: a depth is outside 1 to `backbone.n_layers`, an example has no token, or the family's
            final norm is not where it is looked for.
    """
    _check(backbone, token_ids, depths)
    deepest = max(depths)
    model = backbone.cut(deepest).model
    layers, norm = layers_of(model), final_norm(model)
    states: dict[int, Tensor] = {}
    hooks = [layers[depth - 1].register_forward_hook(_keep(states, depth)) for depth in set(depths)]
    try:
        for n, rows in enumerate(length_batches([len(ids) for ids in token_ids], batch_tokens)):
            ids, mask = pad([token_ids[row] for row in rows], backbone.pad_id)
            with torch.no_grad():
                output = run_model(model, ids.to(backbone.device), mask.to(backbone.device))
                if n == 0:
                    _check_norm(backbone, norm(states[deepest]), output)
            yield rows, mask.to(backbone.device), dict(states)
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
    """One feature per example and depth, with the final norm: what a checkpoint cut to that depth would give.

    The last real token for a causal model, the mean over real tokens for an encoder. In the backbone's
    dtype, on the CPU, in the order of `token_ids`. `on_tokens` is told the tokens read, batch by batch.

    Raises:
        ModelError: as `forward_depths`.
    """
    norm = final_norm(backbone.model)
    pooled = {depth: torch.empty(len(token_ids), backbone.hidden_size, dtype=backbone.dtype) for depth in depths}
    for rows, mask, states in forward_depths(backbone, token_ids, depths, batch_tokens=batch_tokens):
        for depth in depths:
            with torch.no_grad():
                pooled[depth][rows] = pool(norm(states[depth]), mask, backbone.is_causal).cpu()
        if on_tokens:
            on_tokens(int(mask.sum()))
    return pooled


def token_activations(
    backbone: Backbone,
    token_ids: Sequence[Sequence[int]],
    depth: int,
    *,
    batch_tokens: int,
    on_tokens: OnTokens | None = None,
) -> tuple[Float[Tensor, "tokens dim"], Int[Tensor, " boundaries"]]:
    """Every token's hidden state after `depth` layers, without the final norm, end to end in one tensor.

    Example i holds rows `offsets[i]` to `offsets[i + 1]`. In the backbone's dtype, on the CPU.

    Raises:
        ModelError: as `forward_depths`.
    """
    offsets = torch.tensor([0, *(len(ids) for ids in token_ids)]).cumsum(0)
    values = torch.empty(int(offsets[-1]), backbone.hidden_size, dtype=backbone.dtype)
    for rows, mask, states in forward_depths(backbone, token_ids, [depth], batch_tokens=batch_tokens):
        for i, row in enumerate(rows):
            start, stop = int(offsets[row]), int(offsets[row + 1])
            values[start:stop] = states[depth][i, : stop - start].cpu()
        if on_tokens:
            on_tokens(int(mask.sum()))
    return values, offsets


def run_model(
    model: nn.Module,
    values: Int[Tensor, "batch length"] | Float[Tensor, "batch length dim"],
    mask: Int[Tensor, "batch length"],
) -> Float[Tensor, "batch length dim"]:
    """The model's last hidden states, after its final norm, from token ids or from what enters its first layer."""
    # An encoder does not know `use_cache`; a causal model would keep keys and values that nobody reads.
    cache = {"use_cache": False} if getattr(model.config, "use_cache", False) else {}
    read = "inputs_embeds" if values.is_floating_point() else "input_ids"
    return model(**{read: values}, attention_mask=mask, **cache).last_hidden_state


def pool(
    hidden: Float[Tensor, "batch length dim"], mask: Int[Tensor, "batch length"], is_causal: bool
) -> Float[Tensor, "batch dim"]:
    """The last real token's vector (causal), or the mean over real tokens (encoder); padded on the right."""
    if is_causal:
        return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1) - 1]
    weight = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weight).sum(1) / weight.sum(1)


def pad(
    token_ids: Sequence[Sequence[int]], pad_id: int
) -> tuple[Int[Tensor, "batch length"], Int[Tensor, "batch length"]]:
    """Token ids padded on the right to the longest example, and their mask (1 = real)."""
    lengths = torch.tensor([len(ids) for ids in token_ids])
    longest = int(lengths.max())
    ids = torch.tensor([[*ids, *[pad_id] * (longest - len(ids))] for ids in token_ids])
    return ids, (torch.arange(longest) < lengths.unsqueeze(1)).long()


def length_batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Rows in order of length, in batches of at most `batch_tokens` tokens, padding included."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if batch and (len(batch) + 1) * lengths[row] > batch_tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _keep(states: dict[int, Tensor], depth: int) -> Callable[[nn.Module, object, Tensor | tuple[Tensor, ...]], None]:
    def hook(_layer: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        states[depth] = output if isinstance(output, Tensor) else output[0]

    return hook


def _check(backbone: Backbone, token_ids: Sequence[Sequence[int]], depths: Sequence[int]) -> None:
    wrong = [depth for depth in depths if not 1 <= depth <= backbone.n_layers]
    if wrong or not depths:
        raise ModelError(
            f"{backbone.name}: depths must lie within 1 and {backbone.n_layers} (its layers), got {list(depths)}"
        )
    for i, ids in enumerate(token_ids):
        if not ids:
            raise ModelError(f"{backbone.name}: example {i} has no token; give every example a non-empty prompt")


def _check_norm(backbone: Backbone, ours: Tensor, theirs: Tensor) -> None:
    if ours.shape != theirs.shape or not torch.allclose(ours.float(), theirs.float(), rtol=1e-2, atol=1e-3):
        raise ModelError(
            f"{backbone.name}: the {type(backbone.model).__name__} family does something after its last "
            "layer that this package does not know, so its middle layers cannot be read; use another family"
        )
