"""The upper layers of a backbone as a model of their own, and what trains them: a copy, or low-rank updates."""

import contextlib
import copy
import math
import warnings

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Generator, Tensor, nn
from transformers import PreTrainedModel

from ensemw2s.errors import ModelError
from ensemw2s.models.anatomy import cut_model, final_norm, layer_list, layers_of
from ensemw2s.models.load import Backbone
from ensemw2s.models.trunk import pad, run_model


def upper_layers(backbone: Backbone, n: int) -> PreTrainedModel:
    """The last n layers and the final norm, read from activations; frozen, over the backbone's own tensors.

    Raises:
        ModelError: n is no number of its layers, or this family's layers cannot be run from activations (it was
            tried on a short input).
    """
    if not 1 <= n <= backbone.n_layers:
        raise ModelError(f"{backbone.name}: it has {backbone.n_layers} layers, so {n} upper ones cannot be taken")
    upper = cut_model(backbone.model, backbone.n_layers - n, backbone.n_layers)
    upper.set_input_embeddings(nn.Identity())
    no_dropout(upper)
    _check(backbone, upper, backbone.n_layers - n)
    return upper


def own_weights(upper: PreTrainedModel) -> None:
    """Replace the layers' and the norm's shared tensors by trainable float32 copies."""
    owner, name = layer_list(upper)
    for part in (getattr(owner, name), final_norm(upper)):
        for module in part.modules():
            for key, parameter in module.named_parameters(recurse=False):
                setattr(module, key, nn.Parameter(parameter.detach().clone().float()))


def own_model(model: PreTrainedModel) -> PreTrainedModel:
    """A trainable float32 copy of the whole model, its pretrained dropout off."""
    own = copy.deepcopy(model).float().requires_grad_(True)
    no_dropout(own)
    return own


def computing_in(dtype: torch.dtype, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Multiply in `dtype` where the weights are float32: nothing to do for float32, else autocast."""
    return contextlib.nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


def add_lora(model: PreTrainedModel, rank: int, alpha: float, dropout: float, generator: Generator) -> None:
    """Put low-rank updates on every linear layer, drawn from `generator`; at first they change nothing."""
    no_dropout(model)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # pyright: ignore[reportArgumentType]  (any number scales it)
        lora_dropout=dropout,
        target_modules="all-linear",
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # peft tells of what it sets by itself for GPT-2's transposed layers.
        warnings.simplefilter("ignore", UserWarning)
        inject_adapter_in_model(config, model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            parameter.data = parameter.data.float()
            if "lora_A" in name:  # as peft draws it (Kaiming), from our stream; B starts at 0
                bound = math.sqrt(1 / parameter.shape[1])
                drawn = torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator)
                parameter.copy_(drawn)


def no_dropout(model: nn.Module) -> None:
    """Switch the pretrained model's own dropout off: what the trunk gives must not depend on the mode."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "attention_dropout") and isinstance(module.attention_dropout, float):
            module.attention_dropout = 0.0  # pyright: ignore[reportArgumentType]


@torch.no_grad()
def _check(backbone: Backbone, upper: PreTrainedModel, depth: int) -> None:
    # Some families add positions to what they take for embeddings, or scale it.
    ids, mask = pad([[3, 4, 5, 6, 7], [8, 9, 10]], backbone.pad_id)
    ids, mask = ids.to(backbone.device) % backbone.model.config.vocab_size, mask.to(backbone.device)
    entering: list[Tensor] = []
    hook = layers_of(backbone.model)[depth].register_forward_pre_hook(lambda _, args: entering.append(args[0]))
    try:
        whole = run_model(backbone.model, ids, mask)
    finally:
        hook.remove()
    values = entering[0] if depth else backbone.model.get_input_embeddings()(ids)
    cache = {"use_cache": False} if getattr(upper.config, "use_cache", False) else {}
    ours = upper(inputs_embeds=values, attention_mask=mask, **cache).last_hidden_state
    whole, ours = whole[mask.bool()].float(), ours[mask.bool()].float()
    tolerance = 1e-3 if backbone.dtype == torch.float32 else 3e-2
    if (error := float((ours - whole).norm() / whole.norm())) > tolerance:
        raise ModelError(
            f"{backbone.name}: the upper layers of a {type(backbone.model).__name__} cannot be run from "
            f"cached activations (relative error {error:.2g}); use adapter: head or lora, or a rotary "
            "decoder such as Llama, Qwen or Mistral"
        )
