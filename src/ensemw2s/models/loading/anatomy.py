"""Finding a pretrained model's layers and final norm, and cutting it to some layers without a copy."""

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from ensemw2s.errors import ModelError

Model = TypeVar("Model", bound=nn.Module)

FINAL_NORMS = (
    *("norm", "ln_f", "final_layer_norm", "final_layernorm", "final_norm", "norm_f", "embedding_norm"),
    *("layer_norm", "layernorm", "ln", "ln_out"),
)
"""Names of the final norm in the library's families. Where another module has such a name, the checks of `trunk` and
`upper` detect it."""

CACHE_PLACES = ("layer_idx", "layer_id")
"""Attributes that hold a layer's index in the cache; `layer_id` in GPT-Neo."""


def layer_list(model: PreTrainedModel) -> tuple[nn.Module, str]:
    """The module that owns the list of layers, and the list's name in it.

    Raises:
        ModelError: the family keeps its layers otherwise.
    """
    n_layers = model.config.num_hidden_layers
    for owner in model.modules():
        for name, child in owner.named_children():
            if isinstance(child, nn.ModuleList) and len(child) == n_layers:
                return owner, name
    raise ModelError(
        f"{type(model).__name__}: no list of {n_layers} layers was found in this model family; use a plain "
        "decoder or encoder such as Llama, Qwen, GPT-2 or BERT"
    )


def layers_of(model: PreTrainedModel) -> nn.ModuleList:
    """The model's layers, first to last. Raises ModelError."""
    owner, name = layer_list(model)
    return getattr(owner, name)


def final_norm(model: PreTrainedModel) -> nn.Module:
    """The module applied after the last layer: the final norm, or the identity in a post-norm encoder."""
    owner, _ = layer_list(model)
    for name in FINAL_NORMS:
        if isinstance(norm := getattr(owner, name, None), nn.Module):
            return norm
    return nn.Identity()


def cut_config(config: PretrainedConfig, start: int, stop: int) -> PretrainedConfig:
    """A copy of the configuration for layers `start` to `stop`; per-layer lists such as `layer_types` are cut, too."""
    old = config.num_hidden_layers
    cut = copy.deepcopy(config)
    for name, value in vars(config).items():
        if "layer" in name and isinstance(value, list) and len(value) == old:
            setattr(cut, name, value[start:stop])
    cut.num_hidden_layers = stop - start
    return cut


def share(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of the model's modules over the same tensors, so that modules can be replaced at no cost in memory."""
    tensors = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


def trainable_copy(model: Model, kept: Mapping[int, Tensor]) -> Model:
    """A copy whose weights are float32 and trained.

    Args:
        kept: tensors that take the place of others, by the others' id; they are neither copied nor changed.
    """
    copied = copy.deepcopy(model, dict(kept))
    unchanged = {id(tensor) for tensor in kept.values()}
    for parameter in copied.parameters():
        if id(parameter) not in unchanged:
            parameter.data = parameter.data.float()
            parameter.requires_grad_(True)
    for buffer in copied.buffers():
        if buffer.is_floating_point():
            buffer.data = buffer.data.float()
    return copied


def embeddings_of(model: PreTrainedModel) -> list[nn.Parameter]:
    """Weights that are looked up by a token, its position or its type before the first layer. Raises ModelError."""
    within = {id(module) for module in layers_of(model).modules()}
    tables = [m for m in model.modules() if isinstance(m, nn.Embedding) and id(m) not in within]
    # A family's own class may be no `nn.Embedding`.
    found = {id(p): p for module in (model.get_input_embeddings(), *tables) for p in module.parameters()}
    return list(found.values())


def cut_model(model: PreTrainedModel, start: int, stop: int) -> PreTrainedModel:
    """Layers `start` to `stop` of the model followed by its final norm, sharing all weights with it."""
    cut = share(model)
    owner, name = layer_list(cut)
    config = cut_config(model.config, start, stop)
    setattr(owner, name, nn.ModuleList(list(getattr(owner, name))[start:stop]))
    for module in cut.modules():
        # Submodules of some families hold the configuration too and slice their layers by it.
        if getattr(module, "config", None) is not None and hasattr(module.config, "num_hidden_layers"):
            module.config = config  # pyright: ignore[reportArgumentType]
    for index, layer in enumerate(getattr(owner, name)):
        for module in layer.modules():
            # A cache of keys and values is indexed by this, and the cut model's cache starts at its own first layer.
            for place in CACHE_PLACES:
                if isinstance(getattr(module, place, None), int):
                    setattr(module, place, index)
    return cut


def place_in_whole(cut: PreTrainedModel, start: int) -> Callable[[str], str]:
    """From a name in a model of layers `start` and on to the name in the whole model. Raises ModelError."""
    owner, list_name = layer_list(cut)
    path = next(name for name, module in cut.named_modules() if module is owner)
    prefix = f"{path}.{list_name}." if path else f"{list_name}."

    def place(name: str) -> str:
        if not name.startswith(prefix):
            return name
        index, dot, rest = name.removeprefix(prefix).partition(".")
        return f"{prefix}{int(index) + start}{dot}{rest}"

    return place


def memory_of(tensors: Iterable[Tensor]) -> int:
    """Bytes of memory that these tensors occupy; storage shared by several counts once, and in full."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())
