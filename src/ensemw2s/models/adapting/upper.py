"""Upper layers that an adapter runs itself, and how they are trained: low-rank updates, or copies of the weights."""

import contextlib
import functools
import math
import warnings
from collections.abc import Iterator, Sequence

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Generator, Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ensemw2s.config import ModelConfig
from ensemw2s.distributed import launch
from ensemw2s.errors import ModelError
from ensemw2s.models.adapting.mixture import add_mixtures, mixed_targets, mixtures_of, single_rank
from ensemw2s.models.loading.anatomy import cut_model, embeddings_of, final_norm, layer_list, layers_of, trainable_copy
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.passes import pad, run_model
from ensemw2s.models.probes import PROBE_ERRORS

POSITIONS = ("wpe", "embed_positions")
"""Names of learned position embeddings, which are added before the first layer: GPT-2, OPT."""


def own_layers(config: ModelConfig, n_layers: int) -> int:
    """Number of upper layers, of a model of `n_layers`, that an adapter runs itself; the frozen trunk has the rest."""
    some = {"head": 0, "top": config.top_layers, "lora": config.lora_layers}.get(config.adapter)
    return n_layers if some is None else some


def upper_layers(backbone: Backbone, n: int) -> PreTrainedModel:
    """The last n layers and the final norm as a model on activations, frozen and sharing the backbone's tensors.

    Raises:
        ModelError: n is outside 1 and the number of layers, or this family's layers cannot be run from activations,
            which is tried on a short input.
    """
    if not 1 <= n <= backbone.n_layers:
        raise ModelError(f"{backbone.name}: it has {backbone.n_layers} layers, so {n} upper ones cannot be taken")
    upper = cut_model(backbone.model, backbone.n_layers - n, backbone.n_layers)
    upper.set_input_embeddings(nn.Identity())
    if n < backbone.n_layers:
        _without_embeddings(upper)
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


def own_model(model: PreTrainedModel, *, train_embeddings: bool) -> PreTrainedModel:
    """A trainable float32 copy of the model, with its pretrained dropout switched off.

    Without `train_embeddings` the copy's embeddings are the model's own tensors, frozen and in its dtype.
    """
    frozen = [] if train_embeddings else embeddings_of(model)
    trainable = trainable_copy(model, {id(parameter): parameter for parameter in frozen})
    no_dropout(trainable)
    return trainable


def computing_in(dtype: torch.dtype, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Context in which float32 weights are multiplied in `dtype`, by autocast; nothing is done for float32."""
    return contextlib.nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


def add_lora(model: PreTrainedModel, config: ModelConfig, dropout: float, generator: Generator) -> None:
    """Add low-rank updates to `config.lora_targets`, initialised from `generator`; B starts at 0, so nothing changes
    yet. With `config.lora_experts`, MLPs get mixtures of them.

    Weights that a family keeps as bare parameters (experts and router of a mixture) are no linear layers and get none.

    Raises:
        ModelError: a target is not the name of a linear layer, there is no linear layer, or two share their weights.
    """
    targets = _targets(model, config.lora_targets)
    no_dropout(model)
    mixed = mixed_targets(model, config, targets) if config.lora_experts > 1 else []
    if single := [name for name in targets if name not in mixed]:
        _add_single(model, single_rank(config), single, dropout)  # before the mixtures, which peft would freeze
    add_mixtures(model, config, mixed, dropout)
    updated = [id(layer.get_base_layer().weight) for layer in model.modules() if isinstance(layer, LoraLayer)]
    updated += [id(mixture.base.weight) for mixture in mixtures_of(model).values()]
    if len(set(updated)) < len(updated):
        raise ModelError(
            f"{config.model}: layers of a {type(model).__name__} share their weights, and low-rank updates that differ "
            "could not be exported; use adapter: head or full, or another family such as Llama, Qwen or GPT-2"
        )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            parameter.data = parameter.data.float()
            if "lora_A" in name or "lora_router" in name:  # Kaiming, as peft does, but from our stream; B starts at 0
                bound = math.sqrt(1 / parameter.shape[1])
                drawn = torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator)
                parameter.copy_(drawn)


def _add_single(model: PreTrainedModel, config: ModelConfig, targets: Sequence[str], dropout: float) -> None:
    # Inside a plain module peft applies no defaults by model type and updates exactly the named linear layers.
    holder = nn.Module()
    holder.within = model
    lora = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,  # pyright: ignore[reportArgumentType]  (any number scales it)
        lora_dropout=dropout,
        target_modules=[f"within.{name}" for name in targets],
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # peft warns about a setting that it changes itself for GPT-2's transposed layers.
        warnings.simplefilter("ignore", UserWarning)
        inject_adapter_in_model(lora, holder)


def no_dropout(model: nn.Module) -> None:
    """Switch the pretrained model's dropout off: the trunk's output must not depend on training mode."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        # Some families keep the rate as a number, for attention or (OPT) whole blocks.
        for name in ("attention_dropout", "dropout", "layerdrop"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


@contextlib.contextmanager
def layers_recomputed(module: nn.Module) -> Iterator[None]:
    """Gradient checkpointing within this context: keep only each layer's input and recompute the rest backwards."""
    model = _transformer(module)
    layers = [] if model is None else {id(layer): layer for layer in layers_of(model)}.values()
    for layer in layers:
        layer.forward = functools.partial(checkpoint, layer.forward, use_reentrant=False)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def sharded(module: nn.Module) -> None:
    """Shard the module's weights over the processes, layer by layer."""
    model = _transformer(module)
    launch.shard(module, None if model is None else layers_of(model))


def _transformer(module: nn.Module) -> PreTrainedModel | None:
    """The model that has the layers. A trained vocabulary head, also a PreTrainedModel, comes after it."""
    return next((part for part in module.modules() if isinstance(part, PreTrainedModel)), None)


def _targets(model: PreTrainedModel, named: Sequence[str] | None) -> list[str]:
    """Full names of the targeted linear layers, or of all; in upper layers only those within the layers."""
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)]
    if _is_upper(model):
        # Anything outside the layers belongs to the trunk, which is exported unchanged.
        owner, listed = layer_list(model)
        within = next(f"{name}.{listed}." if name else f"{listed}." for name, m in model.named_modules() if m is owner)
        linear = [name for name in linear if name.startswith(within)]
    if not linear:
        raise ModelError(
            f"a {type(model).__name__} has no linear layer to put low-rank updates on; use adapter: head, top or full"
        )
    if not named:
        return linear
    for target in named:
        if not any(_is_named(name, target) for name in linear):
            known = sorted({name.rpartition(".")[2] for name in linear})
            raise ModelError(
                f"lora_targets: a {type(model).__name__} has no linear layer {target!r}; choose among "
                f"{', '.join(known)}, or leave it out for all of them"
            )
    return [name for name in linear if any(_is_named(name, target) for target in named)]


def _is_upper(model: PreTrainedModel) -> bool:
    embeddings = getattr(model, "embeddings", None)
    return isinstance(embeddings, _PassThrough) or isinstance(model.get_input_embeddings(), nn.Identity)


def _is_named(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


class _PassThrough(nn.Module):
    """Replaces an encoder's embeddings and passes `inputs_embeds` on unchanged."""

    def forward(self, input_ids: None = None, inputs_embeds: Tensor | None = None, *_: object, **__: object) -> Tensor:
        assert inputs_embeds is not None
        return inputs_embeds


class _NoPositions(nn.Module):
    """Replaces learned position embeddings by 0."""

    def forward(self, *_: object, **__: object) -> Tensor:
        return torch.zeros(())  # a scalar, whose dtype does not promote the other's


def _without_embeddings(upper: PreTrainedModel) -> None:
    """Remove the embedding steps (positions, token types, first norm), which activations already contain."""
    owner, _ = layer_list(upper)
    for name in POSITIONS:
        if hasattr(owner, name):
            setattr(owner, name, _NoPositions())
    if hasattr(upper, "embeddings"):
        upper.embeddings = _PassThrough()


@torch.no_grad()
def _check(backbone: Backbone, upper: PreTrainedModel, depth: int) -> None:
    """Check on a short input that the upper layers, run from activations, give the backbone's states."""
    # Some families do more to their embeddings than this package knows.
    ids, mask = pad([[3, 4, 5, 6, 7], [8, 9, 10]], backbone.pad_id)
    ids, mask = ids.to(backbone.device) % backbone.model.config.vocab_size, mask.to(backbone.device)
    entering: list[Tensor] = []
    hook = layers_of(backbone.model)[depth].register_forward_pre_hook(lambda _, args: entering.append(args[0]))
    try:
        whole = run_model(backbone.model, ids, mask)
        values = entering[0] if depth else backbone.model.get_input_embeddings()(ids)
        ours = run_model(upper, values, mask)[mask.bool()].float()
    except PROBE_ERRORS as failure:
        problem = " ".join(f"{type(failure).__name__}: {failure}".split())[:200]
    else:
        whole = whole[mask.bool()].float()
        error = float((ours - whole).norm() / whole.norm())
        problem = f"relative error {error:.2g}" if error > (1e-3 if backbone.dtype == torch.float32 else 3e-2) else ""
    finally:
        hook.remove()
    if problem:
        raise ModelError(
            f"{backbone.name}: the upper layers of a {type(backbone.model).__name__} cannot be run from "
            f"cached activations ({problem}); use adapter: head, full, or lora on all layers, or another family such "
            "as Llama, Qwen, GPT-2 or BERT"
        )
