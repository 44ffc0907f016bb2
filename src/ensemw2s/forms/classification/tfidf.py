"""TF-IDF with logistic regression as a weak model beside pretrained ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Int
from torch import Tensor

from ensemw2s.config import ModelConfig, TrainConfig
from ensemw2s.ensemble.learners.tfidf import tfidf_vectorizer
from ensemw2s.hashing import canonical_hash
from ensemw2s.names import TFIDF

VERSION = 1
"""Raise it when the features or the fit change."""
TFIDF_FINGERPRINT = canonical_hash({"model": TFIDF, "version": VERSION})
"""In the place of a checkpoint's."""


@dataclass(frozen=True)
class TfidfRole:
    """Words in the place of a model: it has no trunk, and reads no tokens of one."""

    config: ModelConfig
    prompts: tuple[str, ...]
    """Of every example of the split."""

    checkpoint = TFIDF_FINGERPRINT
    trunk_flops = own_flops = 0.0
    head_weights = n_layers = 0
    trains_head = False

    @property
    def fingerprint(self) -> dict[str, object]:
        return {"weights": TFIDF_FINGERPRINT}

    @property
    def lengths(self) -> Int[Tensor, " examples"]:
        return torch.zeros(len(self.prompts), dtype=torch.long)

    @cached_property
    def _terms(self) -> float:
        """Words and pairs of a prompt, on average: whose weights one evaluation uses."""
        terms = tfidf_vectorizer().build_analyzer()
        return sum(len(set(terms(prompt))) for prompt in self.prompts) / len(self.prompts)

    def owned_by(self, state: Mapping[str, Tensor]) -> int:
        return round(self._terms * len(state["bias"]))

    def n_owned(self, training: TrainConfig, n_classes: int) -> int:
        return round(self._terms * n_classes)

    def describe(self) -> str:
        return "TF-IDF of words and pairs of words, logistic regression"
