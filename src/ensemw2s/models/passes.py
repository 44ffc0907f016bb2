"""One pass of a model over texts, also behind a prefix that is read once."""

import copy
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import DynamicCache

from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.probes import problem, sample_texts

Run = Callable[[Tensor, Tensor], Tensor]
"""From token ids and their mask to last hidden states."""


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


def pad(
    token_ids: Sequence[Sequence[int]], pad_id: int
) -> tuple[Int[Tensor, "batch length"], Int[Tensor, "batch length"]]:
    """Token ids padded on the right to the longest example, and their mask (1 = token)."""
    lengths = torch.tensor([len(ids) for ids in token_ids])
    longest = int(lengths.max())
    ids = torch.tensor([[*ids, *[pad_id] * (longest - len(ids))] for ids in token_ids])
    return ids, (torch.arange(longest) < lengths.unsqueeze(1)).long()


def reading_behind(backbone: Backbone, prefix: Sequence[int]) -> Run:
    """How the model reads texts that stand behind a prefix."""
    if not prefix:
        return lambda ids, mask: run_model(backbone.model, ids, mask)
    assert backbone.is_causal, "what an encoder makes of a prefix depends on what follows it"
    return _continued(backbone, prefix) if _keeps_prefixes(backbone) else _joined(backbone, prefix)


def _joined(backbone: Backbone, prefix: Sequence[int]) -> Run:
    """Read the prefix before every text anew."""

    def run(ids: Tensor, mask: Tensor) -> Tensor:
        before = torch.tensor([list(prefix)] * len(ids), device=ids.device)
        return run_model(
            backbone.model, torch.cat([before, ids], dim=1), torch.cat([torch.ones_like(before), mask], dim=1)
        )

    return run


def _continued(backbone: Backbone, prefix: Sequence[int]) -> Run:
    """Read the prefix once, and go on from its keys and values with every text."""
    model, kept, n = backbone.model, DynamicCache(), len(prefix)
    with torch.no_grad():
        model(input_ids=torch.tensor([list(prefix)], device=backbone.device), past_key_values=kept, use_cache=True)

    def run(ids: Tensor, mask: Tensor) -> Tensor:
        cache = copy.deepcopy(kept)
        cache.batch_repeat_interleave(len(ids))
        positions = torch.arange(n, n + ids.shape[1], device=ids.device).expand(len(ids), -1)
        before = torch.ones(len(ids), n, dtype=mask.dtype, device=mask.device)
        output = model(
            input_ids=ids,
            attention_mask=torch.cat([before, mask], dim=1),
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        return output.last_hidden_state

    return run


def _keeps_prefixes(backbone: Backbone) -> bool:
    """Whether the family goes on from cached keys and values as if it had read all at once; measured."""
    prefix, *texts = sample_texts(backbone)
    ids, mask = (part.to(backbone.device) for part in pad(texts, backbone.pad_id))

    def states(run: Run) -> Tensor:
        return run(ids, mask)[:, -ids.shape[1] :][mask.bool()]

    return not problem(
        backbone,
        "prefix",
        lambda: states(_continued(backbone, prefix)),
        lambda: states(_joined(backbone, prefix)),
    )
