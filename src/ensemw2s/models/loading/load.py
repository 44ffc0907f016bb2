"""Loading a frozen backbone by name: resolved, checked, cut to its first layers, and fingerprinted."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ensemw2s.config import ModelConfig
from ensemw2s.errors import ModelError
from ensemw2s.models.adapting.mixture import refuse_mixtures
from ensemw2s.models.loading.anatomy import cut_config
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.loading.checkpoint import checkpoint_folder, fingerprint, own_code, weight_files
from ensemw2s.models.loading.pooling import pooling_of, standard_pooling
from ensemw2s.models.loading.positions import positions_of
from ensemw2s.models.loading.quiet import quiet
from ensemw2s.models.loading.refusal import LOADING_ERRORS, explained
from ensemw2s.models.loading.tokenizer import open_tokenizer
from ensemw2s.models.vocabulary import VocabularyHead, has_vocabulary, trunk_of
from ensemw2s.names import TINY_MODELS


def device() -> torch.device:
    """Device that models run on: the first CUDA device, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def choose_dtype(config: ModelConfig) -> torch.dtype:
    """The trunk's dtype; `auto` is bfloat16 where the machine has instructions for it, else float32.

    A tiny random model is float32 everywhere, so that its runs are the same on every machine.
    """
    if config.dtype != "auto":
        return getattr(torch, config.dtype)
    if config.model in TINY_MODELS:
        return torch.float32
    if device().type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    # Without these instructions the CPU emulates bfloat16: measured five times slower than float32.
    can = torch.cpu.get_capabilities()
    return torch.bfloat16 if can.get("amx_bf16") or can.get("avx512_bf16") else torch.float32


def load_backbone(config: ModelConfig, n_layers: int | None = None, *, below_mixtures: bool = False) -> Backbone:
    """Load the first `n_layers` layers of a checkpoint (None: `config.n_layers`, else all).

    Args:
        below_mixtures: also a student's without its mixtures of low-rank updates, which the caller puts on.

    Raises:
        ModelError: there is no such model; it has no safetensors, no tokenizer, fewer layers than asked for,
            or weights that do not fit its configuration; it wants to run its own code and is not trusted.
    """
    folder = checkpoint_folder(config)
    if not below_mixtures:
        refuse_mixtures(config.model, folder)
    trust = own_code(config, folder)
    with quiet(), explained(config.model, folder):
        model_config = AutoConfig.from_pretrained(folder, trust_remote_code=trust, local_files_only=True)
        model_config = _cut(config, model_config, n_layers or config.n_layers)
        tokenizer = open_tokenizer(config, folder, trust)
        weight_files(config, folder)
        writes = has_vocabulary(model_config)
        with torch.random.fork_rng(devices=[]):  # missing weights are initialised, then refused or dropped
            loaded: Any = (AutoModelForCausalLM if writes else AutoModel).from_pretrained(
                folder,
                config=model_config,
                dtype=choose_dtype(config),
                use_safetensors=True,
                trust_remote_code=trust,
                local_files_only=True,
                output_loading_info=True,
            )
        model, info = loaded
        missing = set(info["missing_keys"])
        trunk, head = (trunk_of(model), model) if writes else (model, None)
        if trunk is None:
            raise ModelError(
                f"{config.model}: a {type(model).__name__} does not keep its trunk apart from its vocabulary head; use "
                "another family such as Llama, Qwen or GPT-2"
            )
        if head is not None:
            above = {name for name in missing if not name.startswith(f"{head.base_model_prefix}.")}
            missing -= above
            head = None if above else _head(head)
        # The pooler of an encoder is trained for another purpose and often absent; we pool ourselves.
        if lacking := sorted(key for key in missing if "pooler" not in key):
            raise ModelError(
                f"{config.model}: the checkpoint in {folder} lacks {lacking[0]} and {len(lacking) - 1} other "
                "tensors; fetch it again"
            )
        digest = fingerprint(folder, config.revision)
        backbone = make_backbone(trunk, tokenizer, name=config.model, fingerprint=digest, head=head)
    return replace(backbone, pooling=pooling_of(config, is_causal=backbone.is_causal))


def load_settings(config: ModelConfig) -> PretrainedConfig:
    """The library's configuration of a checkpoint, without its weights.

    Raises:
        ModelError: it has none that the library knows.
    """
    folder = checkpoint_folder(config)
    trust = own_code(config, folder)
    with quiet(), explained(config.model, folder):
        return AutoConfig.from_pretrained(folder, trust_remote_code=trust, local_files_only=True)


def load_positions(config: ModelConfig) -> int | None:
    """Largest number of tokens that a checkpoint reads; None where nothing bounds it. Raises ModelError."""
    return positions_of(load_settings(config))


def n_layers_of(config: ModelConfig) -> tuple[int, int]:
    """How many layers are used, and how many the checkpoint has. Raises ModelError where they are too few."""
    settings = load_settings(config)
    return _cut(config, settings, config.n_layers).num_hidden_layers, settings.num_hidden_layers


def make_backbone(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    name: str,
    fingerprint: str,
    head: VocabularyHead | None = None,
) -> Backbone:
    """Freeze a loaded model without its pooler, move it to `device()` and measure whether it is causal."""
    has_pooler = getattr(model, "pooler", None) is not None
    if has_pooler:
        setattr(model, "pooler", None)  # noqa: B010  (pyright knows no such attribute)
    model.requires_grad_(False).eval()
    nn.Module.to(model, device())
    try:
        is_causal, output_size = _measured(model)
    except TypeError:
        if not has_pooler:
            raise
        setattr(model, "pooler", _NoPooler())  # noqa: B010  (a family that calls it without looking)
        is_causal, output_size = _measured(model)
    return Backbone(
        model=model,
        tokenizer=tokenizer,
        n_layers=model.config.num_hidden_layers,
        hidden_size=model.config.hidden_size,
        output_size=output_size,
        is_causal=is_causal,
        pooling=standard_pooling(is_causal=is_causal),
        dtype=model.dtype,
        name=name,
        fingerprint=fingerprint,
        unembedding=head.requires_grad_(False).eval() if head is not None and is_causal else None,
    )


def _head(model: PreTrainedModel) -> VocabularyHead | None:
    try:
        return VocabularyHead(model)
    except (*LOADING_ERRORS, StopIteration):  # its code needs more of the trunk than states
        return None


def _cut(config: ModelConfig, model_config: PretrainedConfig, n_layers: int | None) -> PretrainedConfig:
    has = getattr(model_config, "num_hidden_layers", None)
    if has is None or getattr(model_config, "is_encoder_decoder", False):
        raise ModelError(
            f"{config.model}: a {model_config.model_type} model is not a plain text model; use a decoder or an encoder"
        )
    if n_layers is None:
        return model_config
    if n_layers > has:
        raise ModelError(
            f"{config.model}: n_layers is {n_layers} but the checkpoint has {has} layers; set n_layers to {has} or less"
        )
    return cut_config(model_config, 0, n_layers)


class _NoPooler(nn.Module):
    """Replaces an encoder's pooler and returns None."""

    def forward(self, *_: object, **__: object) -> None:
        return None


def _measured(model: PreTrainedModel) -> tuple[bool, int]:
    """Whether a token's state is independent of later tokens, and the size of a state."""
    ids = torch.arange(3, 9, device=model.device).unsqueeze(0) % model.config.vocab_size
    other = ids.clone()
    other[0, -1] = 2
    with torch.inference_mode():
        first, second = (model(input_ids=x, attention_mask=torch.ones_like(x)).last_hidden_state for x in (ids, other))
    return torch.allclose(first[:, :-1], second[:, :-1], rtol=1e-3, atol=1e-4), first.shape[-1]
