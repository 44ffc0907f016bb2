"""Probes: checks of a loaded model on short inputs before any work.

A probe computes one quantity twice, as this package will and as the library does (or without a shortcut), and compares
the two. Behaviour of a model family that this package does not know of shows there instead of in the results. The
caller either refuses the model by name (`require`) or takes the slower way (`problem`).
"""

from collections.abc import Callable, Hashable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ensemw2s.errors import ModelError
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.loading.refusal import LOADING_ERRORS

PROBE_ERRORS = (*LOADING_ERRORS, IndexError, AssertionError, NotImplementedError, StopIteration)
"""Errors that a family's code raises when it is used in a way that it does not support."""
LIMITS = {torch.float32: 1e-3, torch.float64: 1e-6}
"""Largest difference due to rounding, relative to the largest value; in half precision `HALF_LIMIT`."""
HALF_LIMIT = 5e-2
LENGTHS = (7, 3, 1, 5)
"""Numbers of tokens of a probe's texts."""


@runtime_checkable
class Probed(Protocol):
    """What a probe asks of a model."""

    @property
    def name(self) -> str: ...

    @property
    def model(self) -> PreTrainedModel: ...

    @property
    def n_layers(self) -> int: ...

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def proven(self) -> dict[Hashable, str]:
        """Results of the probes so far."""
        ...


def sample_texts(backbone: Backbone) -> list[list[int]]:
    """Token ids of texts of several lengths, spread over the vocabulary, without special tokens."""
    return texts_for(backbone.tokenizer, backbone.model, backbone.pad_id)


def texts_for(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, pad_id: int) -> list[list[int]]:
    """`sample_texts` for a model that is not in a backbone."""
    special = {*tokenizer.all_special_ids, pad_id}
    n_known = min(model.get_input_embeddings().weight.shape[0], len(tokenizer))  # pyright: ignore
    usable = [i for i in range(n_known) if i not in special] or [0]
    step = max(1, len(usable) // 17)
    drawn = iter(range(5, 10**6, step))
    return [[usable[next(drawn) % len(usable)] for _ in range(n)] for n in LENGTHS]


def problem(
    backbone: Probed,
    key: Hashable,
    ours: Callable[[], Tensor],
    theirs: Callable[[], Tensor],
    *,
    limit: float | None = None,
) -> str:
    """How the two results differ, in a few words; empty where they agree.

    Args:
        key: identifies the probe and all that determines it beside the backbone. The result is kept with the backbone
            and its cuts, so that each probe runs once in a process.
        limit: largest relative difference; None uses the rounding limit of the backbone's dtype.
    """
    place = place_of(backbone, key)
    if place not in backbone.proven:
        allowed = LIMITS.get(backbone.dtype, HALF_LIMIT) if limit is None else limit
        backbone.proven[place] = difference(ours, theirs, allowed)
    return backbone.proven[place]


def place_of(backbone: Probed, key: Hashable) -> Hashable:
    """Key in `Backbone.proven` of a probe's result."""
    return key, backbone.n_layers, str(backbone.dtype)


def require(
    backbone: Probed,
    key: Hashable,
    ours: Callable[[], Tensor],
    theirs: Callable[[], Tensor],
    *,
    what: str,
    mend: str,
    limit: float | None = None,
) -> None:
    """Refuse the model where the two results differ.

    Args:
        what: what differs, as part of a sentence: "its answers change with padding".
        mend: what to do instead.

    Raises:
        ModelError: naming the model, its family, what differs and by how much.
    """
    if reason := problem(backbone, key, ours, theirs, limit=limit):
        refuse(backbone, what, reason, mend)


def refuse(backbone: Probed, what: str, reason: str, mend: str) -> None:
    """Raise the ModelError of a failed probe."""
    if backbone.dtype != torch.float32:  # some families compute in single precision alone
        mend = f"set dtype: float32 for this model, or {mend}"
    raise ModelError(f"{backbone.name}: a {type(backbone.model).__name__} is refused: {what} ({reason}); {mend}")


@torch.no_grad()
def difference(ours: Callable[[], Tensor], theirs: Callable[[], Tensor], limit: float) -> str:
    """How two results differ, in a few words; empty where they agree. `limit` is relative to the largest value."""
    try:
        first, second = ours().float().cpu(), theirs().float().cpu()
    except torch.OutOfMemoryError:
        raise
    except PROBE_ERRORS as failure:
        return f"{type(failure).__name__}: {' '.join(str(failure).split())[:200]}"
    if first.shape != second.shape:
        return f"shapes {list(first.shape)} and {list(second.shape)}"
    if not (first.isfinite().all() and second.isfinite().all()):
        return "values that are not finite"
    if not first.numel():
        return ""
    error = float((first - second).abs().max() / second.abs().max().clamp_min(1e-6))
    return f"relative difference {error:.2g}" if error > limit else ""
