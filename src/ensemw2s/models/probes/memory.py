"""Record of models that have passed their probes, by content, so that later processes skip the probes."""

import json
from collections.abc import Mapping
from typing import Any

import peft
import torch
import transformers

from ensemw2s.hashing import canonical_hash, sha256_of
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.storage.files import cache_home

VERSION = 1
"""Raise it when the probes check more."""


def note_of(backbone: Backbone, deciding: Mapping[str, Any]) -> str:
    """Key under which a passed probe is recorded: hash of weights, tokenizer, libraries and `deciding`."""
    tokenizer = backbone.tokenizer
    backend = getattr(tokenizer, "backend_tokenizer", None)
    vocabulary = backend.to_str() if backend is not None else json.dumps(sorted(tokenizer.get_vocab().items()))
    return canonical_hash(
        {
            "version": VERSION,
            "model": backbone.fingerprint,
            "tokenizer": sha256_of(vocabulary.encode("utf-8", "surrogatepass")),
            "special": {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
            "dtype": str(backbone.dtype),
            "device": str(backbone.device),
            "attention": backbone.model.config._attn_implementation,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "peft": peft.__version__,
            **deciding,
        }
    )


def is_noted(note: str) -> bool:
    """Whether this probe has passed before."""
    return (cache_home() / "probes" / note).is_file()


def write_note(note: str) -> None:
    """Record a passed probe. Where nothing can be written, the next process repeats the probe, which takes seconds."""
    try:
        (cache_home() / "probes").mkdir(parents=True, exist_ok=True)
        (cache_home() / "probes" / note).touch()
    except OSError:
        pass
