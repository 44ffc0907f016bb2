"""The labels that a student is given, whatever their form, as votes over classes."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from scipy.sparse import issparse
from scipy.sparse import vstack as sparse_vstack
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_consistent_length
from torch import Tensor
from torch.nn.functional import one_hot

from ensemw2s.core.labels import Votes
from ensemw2s.estimators.base import checked_labels, several_classes

TOLERANCE = 1e-3
"""By how much the sum of a row of probabilities may differ from 1."""


def read_labels(X: Any, y: Any, easy_y: Any) -> tuple[Votes, np.ndarray, Int[Tensor, " easy"]]:
    """Votes over classes, the classes, and the class index of each easy label.

    Args:
        X: the rows that y is of.
        y: votes, probabilities [rows, classes] (classes are then numbered from 0), or a label for each row.
        easy_y: labels, or None.

    Raises:
        ValueError: y is malformed or of one class, or an easy label is none of the classes.
    """
    if isinstance(y, Votes):
        member, weights, soft = (torch.as_tensor(part) for part in (y.member, y.weights, y.soft))
        votes = Votes(member, weights, soft, y.classes, None if y.voted is None else torch.as_tensor(y.voted))
        check_consistent_length(X, votes.soft)
        if len(votes.member) != len(votes.weights) or votes.member.shape[1:] != votes.soft.shape:
            raise ValueError(
                f"y: votes of {len(votes.weights)} members over {list(votes.soft.shape)} examples and classes do not "
                f"fit their distributions of shape {list(votes.member.shape)}"
            )
        _check_probabilities(votes.soft)
        classes = np.arange(votes.soft.shape[1]) if votes.classes is None else np.asarray(votes.classes)
        return votes, classes, _indices(easy_y, classes)
    given = np.asarray(y)
    if given.ndim == 2 and given.shape[1] > 1:
        soft = torch.from_numpy(given.astype(np.float32))
        check_consistent_length(X, soft)
        _check_probabilities(soft)
        classes = np.arange(soft.shape[1])
        return _one_voter(soft), classes, _indices(easy_y, classes)
    labels = checked_labels(y)
    check_consistent_length(X, labels)
    classes = several_classes(labels if easy_y is None else np.concatenate([labels, checked_labels(easy_y)]))
    soft = one_hot(_indices(labels, classes), len(classes)).float()
    return _one_voter(soft)._replace(classes=tuple(classes.tolist())), classes, _indices(easy_y, classes)


def joined(X: Any, easy_X: Any, easy_labels: Int[Tensor, " easy"]) -> Any:
    """All rows, the easy ones last. Raises ValueError where these have another number of labels."""
    check_consistent_length(easy_X, easy_labels)
    if isinstance(X, list):
        return X + easy_X
    return sparse_vstack([X, easy_X]).tocsr() if issparse(X) else np.concatenate([X, easy_X])


def _one_voter(soft: Tensor) -> Votes:
    return Votes(soft[None], torch.ones(1), soft)


def _indices(labels: Any, classes: np.ndarray) -> Int[Tensor, " labels"]:
    index = {label: k for k, label in enumerate(classes.tolist())}
    given = [] if labels is None else column_or_1d(labels).tolist()
    if unknown := [label for label in given if label not in index]:
        raise ValueError(
            f"easy: the label {unknown[0]!r} is none of the classes of y, {', '.join(map(repr, index))}; give only "
            "examples of these"
        )
    return torch.tensor([index[label] for label in given], dtype=torch.long)


def _check_probabilities(soft: Tensor) -> None:
    sums = soft.sum(-1)
    if not bool(soft.isfinite().all()) or float(soft.min()) < 0 or float((sums - 1).abs().max()) > TOLERANCE:
        raise ValueError("y: its rows must be probabilities, none negative and of sum 1; normalise them")
