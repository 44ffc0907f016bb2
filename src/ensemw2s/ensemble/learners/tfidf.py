"""Logistic regression on TF-IDF of words and pairs of words: a trivial rival, and a member of pools."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, UInt8
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from ensemw2s.core.metrics import log_loss
from ensemw2s.ensemble.learners.base import take
from ensemw2s.ensemble.learners.sklearn import FLOOR, SklearnLearner
from ensemw2s.errors import ModelError
from ensemw2s.train.samples import Validation, balanced
from ensemw2s.training_end import TrainingEnd

STRENGTHS = (1.0, 10.0, 100.0)
"""Values of scikit-learn's C, of which the validation data choose."""
MAX_STEPS = 1000
WORDS = r"\w+|[^\w\s]"
"""A token of TF-IDF: words of any length and single signs, so that no text is without one."""
NEVER = -1e4
"""Logit of a class that a member never saw."""


def tfidf_vectorizer(**settings: Any) -> TfidfVectorizer:
    """Words, signs and pairs of them; the logarithm of how often each occurs, by how rare it is."""
    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=WORDS, **settings)


@dataclass(frozen=True)
class Words:
    """Texts as TF-IDF, whose vocabulary is that of some of them."""

    texts: Sequence[str]
    known: Int[Tensor, " known"]
    """Rows whose words are weighed: no text of a test."""

    @cached_property
    def vectorizer(self) -> TfidfVectorizer:
        return tfidf_vectorizer().fit(take(self.texts, self.known))

    @cached_property
    def matrix(self) -> Any:
        """A sparse matrix [texts, tokens]."""
        return self.vectorizer.transform(self.texts)

    @cached_property
    def tokens(self) -> UInt8[Tensor, " bytes"]:
        """The vocabulary in the order of the columns, one token a line; no token holds a new line."""
        names = "\n".join(self.vectorizer.get_feature_names_out())
        return torch.frombuffer(bytearray(names.encode()), dtype=torch.uint8)


@dataclass(frozen=True)
class TfidfFitted:
    """A fitted regression; rows are those of its words' texts."""

    words: Words
    weight: Float64[Tensor, "classes tokens"]
    bias: Float64[Tensor, " classes"]
    end: TrainingEnd
    flops: float = 0.0
    """Of the fits of all strengths that were tried."""

    def log_probs(self, X: Int[Tensor, " rows"]) -> Float[Tensor, "rows classes"]:
        return _log_probs(self.words.matrix[X.numpy()], self.weight, self.bias)

    def state(self) -> dict[str, Tensor]:
        idf = torch.from_numpy(self.words.vectorizer.idf_)
        return {"weight": self.weight, "bias": self.bias, "idf": idf, "tokens": self.words.tokens}


@dataclass(frozen=True)
class TfidfLearner:
    """Fits the regression for each strength of the penalty and keeps the best on validation data."""

    words: Words
    validation: Validation
    is_balanced: bool = False
    """Whether every class counts the same, however many examples have it."""

    def fit(
        self,
        X: Int[Tensor, " rows"],
        target: Float[Tensor, "rows classes"],
        sample_weight: Float[Tensor, " rows"],
        *,
        seed: int,
    ) -> TfidfFitted:
        if self.is_balanced:
            sample_weight = balanced(target, sample_weight)
        tried = [self._fitted(strength, X, target, sample_weight, seed) for strength in STRENGTHS]
        rows, labels = self.validation.rows, self.validation.labels
        best = min(tried, key=lambda each: log_loss(each.log_probs(rows), labels))
        return replace(best, flops=sum(each.flops for each in tried))

    def _fitted(self, strength: float, X: Tensor, target: Tensor, sample_weight: Tensor, seed: int) -> TfidfFitted:
        matrix = self.words.matrix[X.numpy()]
        learner = SklearnLearner(LogisticRegression(C=strength, max_iter=MAX_STEPS))
        fitted = learner.fit(matrix, target, sample_weight, seed=seed)
        classes, n_classes = list(fitted.classes), target.shape[1]
        weight, bias = np.zeros((n_classes, matrix.shape[1])), np.full(n_classes, NEVER)
        bias[classes] = 0.0
        steps = 0
        if fitted.estimator is not None:
            columns = classes[1:] if len(fitted.estimator.coef_) == 1 else classes  # one row for two classes
            weight[columns], bias[columns] = fitted.estimator.coef_, fitted.estimator.intercept_
            steps = int(max(fitted.estimator.n_iter_))
        is_done = steps < MAX_STEPS
        return TfidfFitted(
            self.words,
            torch.from_numpy(weight),
            torch.from_numpy(bias),
            TrainingEnd(ended="converged" if is_done else "gave_up", converged=is_done, steps=steps),
            6.0 * matrix.nnz * len(classes) * steps,
        )


@dataclass(frozen=True)
class TfidfModel:
    """A regression that was saved, for texts that it has never seen.

    Raises:
        ModelError: a tensor is missing, or two do not fit each other.
    """

    state: Mapping[str, Tensor]
    n_classes: int

    def __post_init__(self) -> None:
        shapes = {name: tuple(tensor.shape) for name, tensor in self.state.items()}
        n_tokens = len(self.tokens) if "tokens" in shapes else 0
        expected = {"weight": (self.n_classes, n_tokens), "bias": (self.n_classes,), "idf": (n_tokens,)}
        if {name: shape for name, shape in shapes.items() if name != "tokens"} != expected:
            raise ModelError(f"its TF-IDF tensors are {shapes}, expected {expected}, and tokens as bytes")
        if len(set(self.tokens)) < n_tokens:
            raise ModelError("its TF-IDF tokens are not distinct")

    @cached_property
    def tokens(self) -> list[str]:
        """The vocabulary, in the order of the weights."""
        try:
            return bytes(self.state["tokens"].to(torch.uint8).tolist()).decode().split("\n")
        except UnicodeDecodeError:
            raise ModelError("its TF-IDF tokens are no UTF-8 text") from None

    @cached_property
    def _vectorizer(self) -> TfidfVectorizer:
        vectorizer = tfidf_vectorizer(vocabulary={token: place for place, token in enumerate(self.tokens)})
        vectorizer.idf_ = self.state["idf"].double().numpy()
        return vectorizer

    def log_probs(self, texts: Sequence[str]) -> Float[Tensor, "texts classes"]:
        """Log-probabilities of every class for each text."""
        return _log_probs(self._vectorizer.transform(texts), self.state["weight"], self.state["bias"])


def _log_probs(matrix: Any, weight: Tensor, bias: Tensor) -> Float[Tensor, "rows classes"]:
    logits = torch.from_numpy(np.asarray(matrix @ weight.double().numpy().T)) + bias.double()
    return logits.softmax(-1).clamp_min(FLOOR).log().log_softmax(-1).float()
