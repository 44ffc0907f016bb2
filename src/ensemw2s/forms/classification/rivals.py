"""Trivial rivals of every trained model: the commonest class, and TF-IDF with logistic regression.

A tool that is worse than these is not worth its cost, so every table shows them.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn.functional import one_hot

from ensemw2s.core.metrics import log_loss
from ensemw2s.ensemble.learners.base import take
from ensemw2s.ensemble.learners.sklearn import SklearnFitted, SklearnLearner
from ensemw2s.evaluation.scored import HARD
from ensemw2s.forms.base import SeedContext, rows_of
from ensemw2s.forms.classification.experts import ClassVoters
from ensemw2s.forms.classification.prepare import ClassPrepared
from ensemw2s.results import Condition, Cost
from ensemw2s.results.conditions import MAJORITY, TFIDF, TFIDF_SELF_TRAINED

STRENGTHS = (1.0, 10.0, 100.0)
"""Values of scikit-learn's C, of which easy-val chooses."""
WORDS = r"\w+|[^\w\s]"
"""A token of TF-IDF: words of any length and single signs, so that no text is without one."""


def class_rivals(prepared: ClassPrepared, seed: SeedContext) -> dict[Condition, tuple[ClassVoters, Cost]]:
    """What the trivial rivals of one seed say of every part, and what they cost."""
    labels = prepared.split.easy_labels[seed.draw.easy_train]
    rows = _asked(prepared, seed)
    share = (torch.bincount(labels, minlength=prepared.n_classes) + 1.0).log().log_softmax(-1)
    majority = ClassVoters({part: share.expand(len(each), -1) for part, each in rows.items()})
    texts = _Texts(prepared, seed)
    on_easy, spent = texts.fitted(seed.draw.easy_train, one_hot(labels, prepared.n_classes))
    guessed = on_easy.log_probs(texts.of(seed.draw.hard_unlabelled)).argmax(-1)
    joined = torch.cat([seed.draw.easy_train, seed.draw.hard_unlabelled])
    self_trained, more = texts.fitted(joined, one_hot(torch.cat([labels, guessed]), prepared.n_classes))
    return {
        MAJORITY: (majority, _cost(0.0)),
        TFIDF: (texts.voters(on_easy), _cost(spent)),
        TFIDF_SELF_TRAINED: (texts.voters(self_trained), _cost(spent + more)),
    }


class _Texts:
    """The prompts of a seed's examples as TF-IDF of words and pairs of words, weighed without a look at the tests."""

    def __init__(self, prepared: ClassPrepared, seed: SeedContext):
        self._prompts = [example.prompt for example in prepared.split.examples]
        self._rows = _asked(prepared, seed)
        self._val = (seed.draw.easy_val, prepared.split.easy_labels[seed.draw.easy_val])
        known = torch.cat([seed.draw.easy_train, seed.draw.hard_unlabelled])
        self._vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=WORDS)
        self._vectorizer.fit(take(self._prompts, known))

    def of(self, rows: Int[Tensor, " rows"]) -> Any:
        """A sparse matrix [rows, tokens]."""
        return self._vectorizer.transform(take(self._prompts, rows))

    def fitted(self, rows: Int[Tensor, " rows"], target: Tensor) -> tuple[SklearnFitted, float]:
        """The regression whose C is best on easy-val, and the FLOPs of all that were tried."""
        X, (val_rows, val_labels) = self.of(rows), self._val
        val, spent = self.of(val_rows), 0.0
        tried: list[SklearnFitted] = []
        for strength in STRENGTHS:
            learner = SklearnLearner(LogisticRegression(C=strength, max_iter=1000))
            tried.append(learner.fit(X, target.float(), torch.ones(len(rows)), seed=0))
            if tried[-1].estimator is not None:
                spent += 6.0 * X.nnz * len(tried[-1].classes) * float(max(tried[-1].estimator.n_iter_))
        return min(tried, key=lambda each: log_loss(each.log_probs(val), val_labels)), spent

    def voters(self, fitted: SklearnFitted) -> ClassVoters:
        said: dict[str, Float[Tensor, "_ classes"]] = {}
        for part, rows in self._rows.items():
            said[part] = fitted.log_probs(self.of(rows))
        return ClassVoters(said)


def _asked(prepared: ClassPrepared, seed: SeedContext) -> dict[str, Int[Tensor, " rows"]]:
    return rows_of(prepared, seed) | {HARD: seed.draw.hard_unlabelled}


def _cost(flops: float) -> Cost:
    return Cost(training_tokens=0, expert_evaluations=0, flops=flops)
