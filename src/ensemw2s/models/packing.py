"""Sequence packing: short sequences side by side in one row instead of padding.

A token attends to the earlier tokens of its own sequence alone: positions start again at 0 with each sequence, from
which the library makes a block-diagonal causal mask. Exact on plain SDPA, without a kernel of its own.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from ensemw2s.errors import ModelError
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.passes import pad, run_model


@dataclass(frozen=True)
class Packing:
    """Mapping between the tokens of a right-padded batch and the bins that they are packed into."""

    source: Int[Tensor, "bins width"]
    """Position in the flattened batch of each bin's token; 0 in empty places."""
    positions: Int[Tensor, "bins width"]
    """Position within the sequence; 0 in empty places, which makes each a sequence of one token."""
    place: Int[Tensor, "batch length"]
    """Inverse mapping: position in the flattened bins of each token of the batch; 0 for padding."""


def plan(lengths: Sequence[int], width: int) -> Packing:
    """Pack rows into bins as wide as the longest sequence, by first fit in decreasing order of length.

    Args:
        lengths: number of tokens of each row, at least 1.
        width: width of the padded batch.
    """
    room: list[int] = []
    widest = max(lengths)
    source, positions = torch.zeros(len(lengths), widest, dtype=torch.long), torch.zeros(len(lengths), widest).long()
    place = torch.zeros(len(lengths), width, dtype=torch.long)
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        n = lengths[row]
        chosen = next((b for b, left in enumerate(room) if left >= n), len(room))
        if chosen == len(room):
            room.append(widest)
        start = widest - room[chosen]
        room[chosen] -= n
        within = torch.arange(n)
        source[chosen, start : start + n] = row * width + within
        positions[chosen, start : start + n] = within
        place[row, :n] = chosen * widest + start + within
    return Packing(source[: len(room)], positions[: len(room)], place)


@contextlib.contextmanager
def sequences_packed(module: nn.Module) -> Iterator[None]:
    """Within this context the causal model in `module`, if any, packs the right-padded batches that it is given."""
    model = next((part for part in module.modules() if isinstance(part, PreTrainedModel)), None)
    if model is None:
        yield
        return
    model.forward = functools.partial(_packed, model.forward)
    try:
        yield
    finally:
        del model.forward


def check_packing(backbone: Backbone) -> None:
    """Check on a short input that the family's states are the same packed as padded.

    Raises:
        ModelError: they differ, or the model is an encoder.
    """
    problem = "an encoder's tokens see both ways" if not backbone.is_causal else _difference(backbone)
    if problem:
        raise ModelError(
            f"{backbone.name}: sequences of a {type(backbone.model).__name__} cannot be packed ({problem}); set "
            "packing: false in expert_training and student_training"
        )


@torch.no_grad()
def _difference(backbone: Backbone) -> str:
    ids, mask = pad([[3, 4, 5, 6, 7], [8, 9, 10], [11, 12]], backbone.pad_id)
    ids, mask = ids.to(backbone.device) % backbone.model.config.vocab_size, mask.to(backbone.device)
    padded = run_model(backbone.model, ids, mask)[mask.bool()].float()
    with sequences_packed(backbone.model):
        packed = run_model(backbone.model, ids, mask)[mask.bool()].float()
    error = float((packed - padded).norm() / padded.norm())
    return f"relative error {error:.2g}" if error > (1e-4 if backbone.dtype == torch.float32 else 3e-2) else ""


def _packed(
    forward: Callable[..., BaseModelOutput],
    *,
    attention_mask: Int[Tensor, "batch length"],
    input_ids: Int[Tensor, "batch length"] | None = None,
    inputs_embeds: Float[Tensor, "batch length dim"] | None = None,
    **_: object,
) -> BaseModelOutput:
    packing = plan(attention_mask.sum(1).tolist(), attention_mask.shape[1])
    source = packing.source.to(attention_mask.device)
    read = (
        {"input_ids": input_ids.flatten()[source]}
        if input_ids is not None
        else {"inputs_embeds": _rows(inputs_embeds)[source]}
    )
    output = forward(**read, position_ids=packing.positions.to(source.device), use_cache=False)
    states = _rows(output.last_hidden_state)[packing.place.to(source.device)]
    return BaseModelOutput(last_hidden_state=states)  # pyright: ignore[reportArgumentType]


def _rows(values: Tensor | None) -> Tensor:
    assert values is not None
    return values.flatten(0, 1)
