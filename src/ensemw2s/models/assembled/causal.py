"""Trained parameters put into the library's causal model; low-rank updates are added to the weights."""

from collections.abc import Iterator
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import PreTrainedModel

from ensemw2s.errors import ModelError
from ensemw2s.models.adapting.mixture import MixtureLinear, mixtures_of
from ensemw2s.models.language import AnswerModel
from ensemw2s.models.loading.anatomy import place_in_whole, share
from ensemw2s.models.loading.backbone import Backbone


@torch.no_grad()
def put_in_place(answerer: AnswerModel, model: PreTrainedModel) -> None:
    """Copy the trained parameters into the library's causal model with as many layers; low-rank updates are added, but
    for `placed_mixtures`.

    Raises:
        ModelError: the two models name their weights differently.
    """
    places = dict(model.named_parameters(remove_duplicate=False))
    for name, value in trained_tensors(answerer, model.base_model_prefix):
        place = places.get(name)
        if place is None or place.shape != value.shape:
            raise ModelError(
                f"a {type(model).__name__} has no weight {name} of shape {list(value.shape)}, which was trained, so it "
                "cannot be exported; use another family such as Llama, Qwen or GPT-2"
            )
        place.copy_(value)


def trained_tensors(answerer: AnswerModel, prefix: str) -> Iterator[tuple[str, Tensor]]:
    """Trained tensors in float32, by their names in the library's causal model of all layers.

    Args:
        prefix: prefix of the trunk in that model.
    """
    place_of = place_in_whole(answerer.upper, answerer.first_layer)
    for name, module in answerer.upper.named_modules():
        if isinstance(module, LoraLayer):
            yield f"{prefix}.{place_of(name)}.weight", _Merged(module).weight.float()
    for name, parameter in answerer.named_parameters():
        part, _, rest = name.partition(".")
        if parameter.requires_grad and "lora_" not in name:
            yield rest.removeprefix("model.") if part == "own_head" else f"{prefix}.{place_of(rest)}", parameter.float()


def placed_mixtures(answerer: AnswerModel) -> dict[str, MixtureLinear]:
    """Mixtures of low-rank updates, which weights cannot hold, by their place in the library's model of all layers."""
    place_of = place_in_whole(answerer.upper, answerer.first_layer)
    return {place_of(name): mixture for name, mixture in mixtures_of(answerer.upper).items()}


def library_form(answerer: AnswerModel, backbone: Backbone) -> PreTrainedModel:
    """The library's causal model with the trained parts in place, over the same tensors, as an export would be."""
    model = share(answerer.head.model)
    if answerer.owns_all:
        setattr(model, model.base_model_prefix, answerer.upper)
        return model
    trunk = share(backbone.model)
    setattr(model, model.base_model_prefix, trunk)
    place_of = place_in_whole(answerer.upper, answerer.first_layer)
    for name, module in answerer.upper.named_modules():
        if isinstance(module, LoraLayer):
            trunk.set_submodule(place_of(name), _Merged(module))
    for place, mixture in placed_mixtures(answerer).items():
        trunk.set_submodule(place, mixture)
    for name, parameter in answerer.upper.named_parameters():
        if parameter.requires_grad and "lora_" not in name:
            owner, _, leaf = place_of(name).rpartition(".")
            value = nn.Parameter(parameter.detach().to(backbone.dtype), requires_grad=False)
            setattr(trunk.get_submodule(owner), leaf, value)
    return model


class _Merged(nn.Module):
    """A layer with its low-rank update added at every call, so that no copy of the weights is kept."""

    def __init__(self, layer: LoraLayer):
        super().__init__()
        self._layer = (layer,)

    @property
    def weight(self) -> Tensor:
        layer: Any = self._layer[0]  # peft declares no type for what its linear layers have in common
        (adapter,) = layer.lora_A
        base: Tensor = layer.get_base_layer().weight
        update: Tensor = layer.get_delta_weight(adapter)
        return base + update.to(base.dtype)

    @property
    def bias(self) -> Tensor | None:
        bias = self._layer[0].get_base_layer().bias
        assert bias is None or isinstance(bias, Tensor)
        return bias

    def forward(self, x: Tensor) -> Tensor:
        return torch.func.functional_call(self._layer[0].get_base_layer(), {"weight": self.weight}, (x,))
