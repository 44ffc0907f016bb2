"""T low-rank adapters of one base model in one forward pass; base matrices are multiplied once for all of them."""

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from ensemw2s.models.adapting.mixture import mixtures_of


class StackedLinear(nn.Module):
    """A frozen linear layer with one low-rank update for each of T equal blocks of rows.

    Args:
        members: the same layer of T models with a common base and updates of one rank. Their updates become views of
            the stack, so that no weight is kept twice.
    """

    def __init__(self, members: Sequence[LoraLayer]):
        super().__init__()
        (name,) = members[0].lora_A
        self.base = members[0].base_layer
        self.scaling = float(members[0].scaling[name])
        self.down: Float[Tensor, "members rank in"] = _stacked([m.lora_A for m in members], name)
        self.up: Float[Tensor, "members out rank"] = _stacked([m.lora_B for m in members], name)

    def forward(self, x: Float[Tensor, "*rows in"]) -> Float[Tensor, "*rows out"]:
        """Rows are ordered member by member."""
        n = len(self.down)
        by_member = x.reshape(n, -1, x.shape[-1])
        low = torch.bmm(by_member, self.down.transpose(1, 2))
        base = self.base(x)
        update = torch.baddbmm(base.reshape(n, -1, base.shape[-1]), low, self.up.transpose(1, 2), alpha=self.scaling)
        return update.view(base.shape)


class StackedUpper:
    """Layers of T models that differ only in their low-rank updates, run as one model.

    Args:
        members: models in evaluation mode, over the same frozen tensors.
    """

    def __init__(self, members: Sequence[PreTrainedModel]):
        self.n_members = len(members)
        first = members[0]
        updates = [{name: m for name, m in each.named_modules() if isinstance(m, LoraLayer)} for each in members]
        # Copy the modules, not the weights.
        memo = {id(t): t for t in [*first.parameters(), *first.buffers()]}
        self._model = copy.deepcopy(first, memo)
        for name in updates[0]:
            owner, _, leaf = name.rpartition(".")
            setattr(self._model.get_submodule(owner), leaf, StackedLinear([each[name] for each in updates]))

    @staticmethod
    def fits(models: Sequence[PreTrainedModel]) -> bool:
        """Whether there are several models that differ only in low-rank updates, one for each layer."""
        return len(models) > 1 and all(
            any(isinstance(m, LoraLayer) for m in model.modules()) and not mixtures_of(model) for model in models
        )

    def linears(self) -> list[StackedLinear]:
        """All layers with updates."""
        return [m for m in self._model.modules() if isinstance(m, StackedLinear)]

    def hidden(
        self,
        values: Float[Tensor, "batch length dim"],
        mask: Int[Tensor, "batch whole"],
        *,
        positions: Int[Tensor, "batch length"] | None = None,
        cache: DynamicCache | None = None,
    ) -> Float[Tensor, "members batch length dim"]:
        """Hidden states of every member after the final norm; the cache holds the rows member by member."""
        device, dtype, n = self._model.device, next(self._model.parameters()).dtype, self.n_members
        output = self._model(
            inputs_embeds=values.to(device, dtype).repeat(n, 1, 1),
            attention_mask=mask.to(device).repeat(n, 1),
            position_ids=None if positions is None else positions.to(device).repeat(n, 1),
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return output.last_hidden_state.unflatten(0, (n, -1))


def _stacked(members: Sequence[nn.ModuleDict], name: str) -> Tensor:
    weights = [m[name].get_parameter("weight") for m in members]
    stack = torch.stack([weight.detach() for weight in weights])
    for part, weight in zip(stack, weights, strict=True):
        weight.data = part
    return stack
