"""Members of an ensemble of generation behind one interface, and those that share a frozen trunk.

`separate.SeparateModels` are whole models side by side behind the same interface.
"""

import copy
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from ensemw2s.ensemble.reading import Reading, log_prob_limit, read_anew, read_at_once, read_by_steps, step_texts
from ensemw2s.models.adapting.stacked import StackedUpper
from ensemw2s.models.language import AnswerModel, member_logits
from ensemw2s.models.loading.anatomy import cut_model, final_norm, layer_list, memory_of
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.passes import run_model
from ensemw2s.models.probes import place_of, problem, sample_texts
from ensemw2s.models.probes.memory import is_noted, note_of, write_note


@runtime_checkable
class Members(Protocol):
    """T models that read the same tokens."""

    @property
    def n_members(self) -> int: ...

    @property
    def pad_id(self) -> int: ...

    def start(self) -> Reading:
        """State before anything is read."""
        ...

    def read(
        self, ids: Int[Tensor, "batch length"], mask: Int[Tensor, "batch length"], reading: Reading | None
    ) -> Float[Tensor, "members batch states dim"]:
        """Final states of the next tokens, at least of the last of each row. With a `reading`, tokens are left-padded
        and continue it; without one, nothing is cached."""
        ...

    def logits(self, states: Float[Tensor, "members positions dim"]) -> Float[Tensor, "members positions vocab"]:
        """Each member's next-token logits."""
        ...


class SharedTrunk:
    """Answer models over one frozen trunk, which runs once for all of them, as does the vocabulary head.

    Upper layers with low-rank updates (`lora`) are run together, copies of upper layers (`top`) one after another, and
    models of `full` share their frozen embeddings at most.

    Families whose cache of keys and values cannot be continued (measured: Mamba, RecurrentGemma) read all tokens anew
    at every step.

    Only the trunk of the backbone is kept. Where members have copies of the upper layers, the pretrained ones are freed
    with the last reference to the backbone.

    Args:
        backbone: backbone cut to the layers of trunk and members together.
        models: answer models that all have the same number of upper layers.
    """

    def __init__(self, backbone: Backbone, models: Sequence[AnswerModel]):
        n_own = len(getattr(*_owner(models[0].upper)))
        trunk = cut_model(backbone.model, 0, backbone.n_layers - n_own)
        _without_norm(trunk)
        self._embed = trunk.get_input_embeddings()
        self._trunk = trunk if backbone.n_layers > n_own else None
        # Copies are trained in float32; decoding runs in the trunk's dtype.
        self._models = [model.to(backbone.dtype) for model in models]
        uppers = [model.upper for model in self._models]
        self._stack = StackedUpper(uppers) if StackedUpper.fits(uppers) else None
        self.pad_id = backbone.pad_id
        self.keeps_memory = self._tries_memory(backbone, n_own)
        """Whether decoding can use cached keys and values, checked on a short input."""

    @property
    def n_members(self) -> int:
        return len(self._models)

    @property
    def n_bytes(self) -> int:
        """Bytes of the weights in memory: embeddings, trunk, upper layers and head of each member; shared ones once."""
        modules = [self._embed, *([] if self._trunk is None else [self._trunk])]
        modules += [part for model in self._models for part in (model.upper, model.head)]
        return memory_of(p for module in modules for p in module.parameters())

    def _tries_memory(self, backbone: Backbone, n_own: int) -> bool:
        key = ("memory", n_own, self._models[0].owns_all, self._stack is not None)
        place = place_of(backbone, key)
        if place in backbone.proven:
            return not backbone.proven[place]
        note = note_of(backbone, {"probes": list(key), "layers": backbone.n_layers})
        if is_noted(note):
            backbone.proven[place] = ""
            return True
        one = self if self._stack is not None else self.alone(0)
        texts = step_texts(sample_texts(backbone))
        reason = problem(
            backbone,
            key,
            lambda: one.logits(read_by_steps(one, one._with_memory(), texts)).log_softmax(-1),
            lambda: one.logits(read_at_once(one, texts)).log_softmax(-1),
            limit=log_prob_limit(backbone.dtype),
        )
        if not reason:
            write_note(note)
        return not reason

    def alone(self, member: int) -> "SharedTrunk":
        """One member by itself, over the same trunk."""
        one = copy.copy(self)
        one._models, one._stack = [self._models[member]], None
        return one

    def start(self) -> Reading:
        return self._with_memory() if self.keeps_memory else Reading([], tokens=[])

    def _with_memory(self) -> Reading:
        if self._stack is not None:
            return Reading([DynamicCache(), DynamicCache()], self.n_members)
        return Reading([DynamicCache() for _ in range(1 + len(self._models))])

    @torch.no_grad()
    def read(
        self, ids: Int[Tensor, "batch length"], mask: Int[Tensor, "batch length"], reading: Reading | None
    ) -> Float[Tensor, "members batch states dim"]:
        """As `Members.read`; with a cache the trunk reads each token once."""
        if reading is not None and reading.tokens is not None:
            return read_anew(self, ids, mask, reading)
        whole, positions = (mask, None) if reading is None else reading.extend(mask)
        caches = [None] * (1 + len(self._models)) if reading is None else reading.caches
        device = self._models[0].upper.device
        values: Tensor = (
            (ids if self._models[0].owns_all else self._embed(ids.to(device)))
            if self._trunk is None
            else run_model(self._trunk, ids.to(device), mask.to(device))
            if reading is None
            else self._trunk(
                input_ids=ids.to(device),
                attention_mask=whole.to(device),
                position_ids=None if positions is None else positions.to(device),
                past_key_values=caches[0],
                use_cache=True,
            ).last_hidden_state
        )
        if self._stack is not None:
            return self._stack.hidden(values, whole, positions=positions, cache=caches[-1])
        return torch.stack(
            [
                model.hidden(values, whole, positions=positions, cache=cache)
                for model, cache in zip(self._models, caches[1:], strict=True)
            ]
        )

    def logits(self, states: Float[Tensor, "members positions dim"]) -> Float[Tensor, "members positions vocab"]:
        """As `Members.logits`."""
        return member_logits(self._models, states)


def _owner(model: PreTrainedModel) -> tuple[nn.Module, str]:
    return layer_list(model)


def _without_norm(trunk: PreTrainedModel) -> None:
    """Remove the trunk's final norm, which follows the last layer and so belongs to the members."""
    norm = final_norm(trunk)
    for module in trunk.modules():
        for name, child in module.named_children():
            if child is norm:
                setattr(module, name, nn.Identity())
