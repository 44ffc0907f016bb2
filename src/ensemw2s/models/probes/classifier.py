"""Probes of a model for classification, with the adapter that will be trained on it."""

import copy
import functools
import math
import tempfile
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from ensemw2s.config import CacheConfig, ModelConfig, canonical_hash
from ensemw2s.models.activations import open_activations
from ensemw2s.models.adapting.adapters import Adapter, build_adapter, head_of
from ensemw2s.models.adapting.mixture import mixture_tensors, put_back, taken_out
from ensemw2s.models.assembled.classifier import classified, classifier, merged, plain_again
from ensemw2s.models.loading.anatomy import share
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.loading.pooling import is_librarys
from ensemw2s.models.loading.quiet import quiet
from ensemw2s.models.passes import run_model
from ensemw2s.models.probes import PROBE_ERRORS, refuse, require, sample_texts
from ensemw2s.models.probes.memory import is_noted, note_of, write_note
from ensemw2s.models.trunk import pool, pooled_features
from ensemw2s.records import TensorStore

CHOICES = ("a", "b", "c")
WORDS = ("Is 7 above 3?", "", "é", "…", "line\nline ", "no")


def check_classifier(
    config: ModelConfig,
    backbone: Backbone,
    store: TensorStore,
    *,
    is_exported: bool,
    depths: Sequence[int] = (),
) -> None:
    """Probe the adapter of `config`, randomly initialised, on short texts.

    Args:
        is_exported: whether to probe the export, too: written, loaded by the library and evaluated on the same texts.
        depths: further depths in layers at which members of an ensemble read features.

    Raises:
        ModelError: a text's features differ from the library's or change with padding; the untrained adapter differs
            from the pretrained model; or an exported student differs from the trained one.
    """
    cut = backbone.cut(config.n_layers or backbone.n_layers)
    settings = config.model_dump(mode="json", exclude={"model", "max_length"})
    asked = {"layers": cut.n_layers, "settings": settings, "exported": is_exported, "depths": sorted(depths)}
    note = note_of(cut, {"probes": "classifier", **asked})
    if is_noted(note):
        return
    key = ("classifier", canonical_hash(settings))
    texts = sample_texts(cut)
    check_features(cut, depths)
    probed = functools.cache(lambda: _Probed(config, cut, texts, store))
    require(
        cut,
        (key, "start"),
        lambda: probed().start,
        lambda: _alone(cut.model, cut, texts),
        what=f"with adapter: {config.adapter} it does not start as the model itself",
        mend="use adapter: head, or another family such as Llama, Qwen, GPT-2 or BERT",
    )
    require(
        cut,
        (key, "padding"),
        lambda: probed().batched,
        lambda: probed().singly,
        what=f"with adapter: {config.adapter} its answer to a text changes with the padding beside it",
        mend="use a family whose states do not, such as Llama, Qwen, GPT-2 or BERT",
    )
    if is_exported:
        require(
            cut,
            (key, "export"),
            lambda: probed().exported,
            lambda: probed().singly,
            what=f"a student of adapter: {config.adapter} would not answer as the trained model does once it is "
            "exported and read again",
            mend="use adapter: head, name attention layers in lora_targets, or use another family such as Llama, Qwen, "
            "GPT-2 or BERT",
        )
    write_note(note)


def check_features(backbone: Backbone, depths: Sequence[int] = ()) -> None:
    """Compare features of texts in a padded batch with those of the library's model for each text by itself.

    Raises:
        ModelError: they differ, or the family cannot be cut to one of the `depths`.
    """
    texts = sample_texts(backbone)
    for depth in sorted({*depths, backbone.n_layers}):
        whole = backbone.cut(depth)
        require(
            backbone,
            ("features", backbone.pooling, depth, tuple(sorted(depths))),
            lambda depth=depth: pooled_features(backbone, texts, [*depths, backbone.n_layers], batch_tokens=64)[depth],
            lambda whole=whole: _alone(whole.model, whole, texts),
            what=f"what it makes of a text after {depth} layers changes with the padding beside it or cannot be read",
            mend="use a decoder such as Llama, Qwen or GPT-2, or an encoder such as BERT, RoBERTa or ModernBERT",
        )


class _Probed:
    """Results of an adapter at its random start, and after all trainable weights were changed."""

    def __init__(self, config: ModelConfig, backbone: Backbone, texts: list[list[int]], store: TensorStore):
        generator = torch.Generator().manual_seed(0)
        adapter = build_adapter(config, backbone, len(CHOICES), dropout=0.0, init_std=0.5, generator=generator).eval()
        self._config, self._backbone, self._adapter, self._texts = config, backbone, adapter, texts
        inputs = open_activations(backbone, texts, config=config, cache=CacheConfig(trunk_cache="off"), store=store)
        rows = torch.arange(len(texts))
        with torch.no_grad():
            self.start = adapter.pooled(*inputs.batch(rows)).float()
            _move(adapter, generator)
            self.batched = adapter(*inputs.batch(rows))
            self.singly = torch.cat([adapter(*inputs.batch(row)) for row in rows.split(1)])

    @property
    def exported(self) -> Float[Tensor, "texts classes"]:
        """Logits of the exported student, loaded by the library's classifier or by this package."""
        base, head = merged(self._backbone, self._adapter), head_of(self._adapter)
        mixtures, tokenizer = taken_out(base), copy.deepcopy(self._backbone.tokenizer)
        is_plain = is_librarys(self._backbone.pooling, is_causal=self._backbone.is_causal)
        whole = classifier(share(base), head, CHOICES, tokenizer) if is_plain and not mixtures else None
        if whole is not None:
            _check_tokenizer(self._backbone, whole, tokenizer)
            return classified(whole, tokenizer, self._texts)
        _check_tokenizer(self._backbone, base, self._backbone.tokenizer)
        again = replace(self._backbone, model=plain_again(base), dtype=base.dtype, proven={})
        if mixtures:
            put_back(again.model, dict(mixture_tensors(mixtures)), self._config.lora_active)
        features = pooled_features(again, self._texts, [again.n_layers], batch_tokens=64)[again.n_layers]
        with torch.no_grad():
            return head.classify(features.to(head.scale.device))


def _move(adapter: Adapter, generator: Generator) -> None:
    """Change all trainable weights at random, so that weights missing from an export show."""
    for name, parameter in adapter.named_parameters():
        if not parameter.requires_grad:
            continue
        drawn = torch.randn(parameter.shape, generator=generator).to(parameter)
        if "lora_B" in name:  # about a third of the weights that it is added to
            parameter += 0.3 / math.sqrt(parameter.shape[1]) * drawn
        elif parameter.numel() > 1:
            parameter += 0.05 * parameter.std() * drawn


@torch.no_grad()
def _alone(model: PreTrainedModel, backbone: Backbone, texts: list[list[int]]) -> Float[Tensor, "texts features"]:
    """Features of each text by itself from the library's model, without padding."""
    features = []
    for ids in texts:
        one = torch.tensor([ids], device=backbone.device)
        mask = torch.ones_like(one)
        features.append(pool(run_model(model, one, mask), mask, backbone.pooling))
    return torch.cat(features).float()


def _check_tokenizer(backbone: Backbone, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Check that the tokenizer gives the same tokens after it is saved and loaded. Raises ModelError."""
    texts = [*WORDS, *(f"no{token}" for token in backbone.tokenizer.all_special_tokens[:8])]
    expected = backbone.tokenizer(texts)["input_ids"]
    try:
        with quiet(), tempfile.TemporaryDirectory() as folder:
            model.config.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            reloaded = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        problem = "" if reloaded(texts)["input_ids"] == expected else "other tokens for the same text"
    except PROBE_ERRORS as failure:
        problem = f"{type(failure).__name__}: {' '.join(str(failure).split())[:200]}"
    if problem:
        refuse(
            backbone,
            "its tokenizer, saved with a student and read again, is not the same",
            problem,
            "save the model with a fast tokenizer (tokenizer.json) and name that folder",
        )
