"""Assembly of a classifier for export: the base model with the trained parameters, in the library's classifier."""

import copy
import tempfile
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ensemw2s.errors import ModelError
from ensemw2s.models.adapting.adapters import Adapter, Whole
from ensemw2s.models.adapting.head import Head
from ensemw2s.models.adapting.mixture import mixtures_of
from ensemw2s.models.loading.anatomy import embeddings_of, final_norm, layers_of, share
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.loading.quiet import quiet
from ensemw2s.models.loading.refusal import LOADING_ERRORS
from ensemw2s.models.passes import pad, run_model
from ensemw2s.models.trunk import pool

PADDING = "<|ensemw2s:padding|>"
"""Padding token of exported students. The library's classifiers read the last token that is not padding, so padding
must be a token that no text ends with; every token of the tokenizer might."""


def merged(backbone: Backbone, adapter: Adapter) -> PreTrainedModel:
    """The base model with the adapter's trained parameters in place of, or added to, the pretrained ones.

    Mixtures of low-rank updates stay in their places. Backbone and adapter are unchanged; untrained weights are shared
    with them.
    """
    if isinstance(adapter, Head):
        return share(backbone.model)
    trained = share(adapter.model if isinstance(adapter, Whole) else adapter.upper)
    for name, module in list(trained.named_modules()):
        if isinstance(module, LoraLayer):
            trained.set_submodule(name, _plain(module))
    if isinstance(adapter, Whole):
        return _in_one_dtype(trained)
    base = share(backbone.model)
    trained_layers = layers_of(trained)
    places = [
        *zip(layers_of(base)[-len(trained_layers) :], trained_layers, strict=True),
        (final_norm(base), final_norm(trained)),
    ]
    for place, part in places:
        for name, mixture in mixtures_of(part).items():
            place.set_submodule(name, mixture)
        place.load_state_dict({k: t.detach().to(backbone.dtype) for k, t in part.state_dict().items()}, assign=True)
    return base.requires_grad_(False)


def classifier(
    base: PreTrainedModel, head: Head, choices: Sequence[str], tokenizer: PreTrainedTokenizerBase
) -> PreTrainedModel | None:
    """The library's classifier around `base`; None where it has none that gives our logits after being saved and
    loaded.

    Modifies `base`, whose vocabulary gets the padding token, and `tokenizer`.
    """
    if head.hidden is not None:
        return None
    config = copy.deepcopy(base.config)
    config.num_labels = len(choices)
    config.id2label = dict(enumerate(choices))
    config.label2id = {choice: k for k, choice in enumerate(choices)}
    ids = _texts(base, tokenizer)
    expected = _logits(base, head, ids)
    try:
        with torch.device("meta"), quiet():  # its weights are replaced, so none is initialised
            whole = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)
        score = getattr(whole, "score", None)
        if not isinstance(score, nn.Linear) or score.bias is not None:
            return None
        _own_padding(base, tokenizer, config)
        setattr(whole, whole.base_model_prefix, base)
        base.config = whole.config = config
        whole.score = nn.Linear(head.scale.numel(), len(choices), bias=False, device=base.device, dtype=base.dtype)
        with torch.no_grad():
            whole.score.weight.copy_(head.score.weight / head.scale)
        whole.eval()
        logits = classified(reloaded(whole, AutoModelForSequenceClassification), tokenizer, ids)
    except (*LOADING_ERRORS, ModelError):
        return None
    limit = 1e-3 if base.dtype == torch.float32 else 5e-2
    return whole if float((logits - expected).abs().max()) <= limit * float(expected.abs().max()) else None


def classified(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[Sequence[int]]
) -> Float[Tensor, "texts classes"]:
    """Logits of the library's classifier on texts padded as its tokenizer does."""
    ids, mask = pad(token_ids, int(tokenizer.pad_token_id))  # pyright: ignore[reportArgumentType]
    with torch.no_grad():
        return model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device)).logits.float()


def reloaded(model: PreTrainedModel, auto: Any) -> PreTrainedModel:
    """The model as the library loads it from its saved form: a configuration file and tensors by name.

    The tensors are shared, so that a large model takes no memory and no disk.

    Raises:
        ModelError: tensors are missing.
    """
    with quiet(), tempfile.TemporaryDirectory() as folder:
        model.config.save_pretrained(folder)
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            kind = type(auto.from_config(config, trust_remote_code=False))
        again, info = kind.from_pretrained(
            None,
            config=config,
            state_dict=model.state_dict(),
            dtype=model.dtype,
            device_map={"": model.device},
            output_loading_info=True,
        )
    if missing := sorted(key for key in info["missing_keys"] if "pooler" not in key):
        raise ModelError(f"a {kind.__name__} that is read again lacks {missing[0]}")
    return again


def plain_again(base: PreTrainedModel) -> PreTrainedModel:
    """The base model as `load_backbone` would load it."""
    return reloaded(base, AutoModel)


def _plain(module: LoraLayer) -> nn.Module:
    """The layer with its low-rank update merged into a copy of its weights."""
    base = module.get_base_layer()
    assert isinstance(module, nn.Module)
    if any(bool(part.any()) for name, part in module.named_parameters() if "lora_B" in name):
        for name, parameter in list(base.named_parameters(recurse=False)):
            setattr(base, name, nn.Parameter(parameter.detach().clone(), requires_grad=False))
        module.merge()
    return base


def _in_one_dtype(model: PreTrainedModel) -> PreTrainedModel:
    """The model with its embeddings in the dtype of the layers above, which may have been trained alone."""
    dtype, embeddings = next(layers_of(model).parameters()).dtype, {id(p) for p in embeddings_of(model)}
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if id(parameter) in embeddings and parameter.dtype != dtype:
                setattr(module, name, nn.Parameter(parameter.detach().to(dtype), requires_grad=False))
    return model


def _own_padding(base: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: Any) -> None:
    tokenizer.add_special_tokens({"pad_token": PADDING})
    config.pad_token_id = tokenizer.pad_token_id
    embeddings = base.get_input_embeddings()
    rows: Tensor = embeddings.weight  # pyright: ignore[reportAssignmentType]
    n_new = int(tokenizer.pad_token_id) + 1 - len(rows)  # pyright: ignore[reportArgumentType]
    if n_new > 0:
        enlarged = torch.cat([rows.detach(), rows.new_zeros(n_new, rows.shape[1])])
        embeddings.weight = nn.Parameter(enlarged, requires_grad=False)
        setattr(embeddings, "num_embeddings", len(enlarged))  # noqa: B010  (typed as any module)
        config.vocab_size = len(enlarged)


def _texts(base: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Short texts to compare on, some of which end in special tokens of the tokenizer."""
    rows: Tensor = base.get_input_embeddings().weight  # pyright: ignore[reportAssignmentType]
    n = min(len(rows), len(tokenizer))
    special = [i for i in sorted(set(tokenizer.all_special_ids)) if i < n][:8]
    plain = [[(5 + 17 * k) % n for k in range(length)] for length in (7, 3, 1)]
    return [*plain, *([*plain[1], i] for i in special)]


@torch.no_grad()
def _logits(base: PreTrainedModel, head: Head, token_ids: Sequence[Sequence[int]]) -> Float[Tensor, "texts classes"]:
    """Logits of each text by itself, without padding."""
    logits = []
    for ids in token_ids:
        one, mask = pad([ids], 0)
        one, mask = one.to(base.device), mask.to(base.device)
        logits.append(head.classify(pool(run_model(base, one, mask), mask, ["last"])).float())
    return torch.cat(logits)
