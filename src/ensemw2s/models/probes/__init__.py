"""What a loaded model is tried on before any work: short inputs on which two ways must give the same.

A probe computes one thing twice, as this package will and as the library does (or without the short cut), and measures
the difference. What a family of models does that nobody here knows of shows there, and not in a figure. The caller
either refuses the model by name (`require`) or goes the slower way (`problem`).
"""

from collections.abc import Callable, Hashable

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ensemw2s.errors import ModelError
from ensemw2s.models.loading.load import Backbone
from ensemw2s.models.loading.refusal import LOADING_ERRORS

PROBE_ERRORS = (*LOADING_ERRORS, IndexError, AssertionError, NotImplementedError, StopIteration)
"""What the code of a family raises where it was not made for what it is asked."""
LIMITS = {torch.float32: 1e-3, torch.float64: 1e-6}
"""Largest difference that rounding explains, relative to the largest value; in half precision `HALF_LIMIT`."""
HALF_LIMIT = 5e-2
LENGTHS = (7, 3, 1, 5)
"""Tokens of the texts of a probe."""


def sample_texts(backbone: Backbone) -> list[list[int]]:
    """Token ids of texts of several lengths, spread over the vocabulary, no special token among them."""
    return texts_for(backbone.tokenizer, backbone.model, backbone.pad_id)


def texts_for(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, pad_id: int) -> list[list[int]]:
    """As `sample_texts`."""
    special = {*tokenizer.all_special_ids, pad_id}
    n_known = min(model.get_input_embeddings().weight.shape[0], len(tokenizer))  # pyright: ignore
    usable = [i for i in range(n_known) if i not in special] or [0]
    step = max(1, len(usable) // 17)
    drawn = iter(range(5, 10**6, step))
    return [[usable[next(drawn) % len(usable)] for _ in range(n)] for n in LENGTHS]


def problem(
    backbone: Backbone,
    key: Hashable,
    ours: Callable[[], Tensor],
    theirs: Callable[[], Tensor],
    *,
    limit: float | None = None,
) -> str:
    """What differs between the two, in a few words; empty where nothing does.

    Args:
        key: of the probe and of everything beside the backbone that decides it. The answer is kept with the backbone
            and its cuts, so a probe costs once a process.
        limit: of the relative difference; None is what rounding explains in the backbone's dtype.
    """
    place = place_of(backbone, key)
    if place not in backbone.proven:
        allowed = LIMITS.get(backbone.dtype, HALF_LIMIT) if limit is None else limit
        backbone.proven[place] = difference(ours, theirs, allowed)
    return backbone.proven[place]


def place_of(backbone: Backbone, key: Hashable) -> Hashable:
    """Where the backbone keeps what was found."""
    return key, backbone.n_layers, str(backbone.dtype)


def require(
    backbone: Backbone,
    key: Hashable,
    ours: Callable[[], Tensor],
    theirs: Callable[[], Tensor],
    *,
    what: str,
    mend: str,
    limit: float | None = None,
) -> None:
    """Refuse the model where the two differ.

    Args:
        what: what is not equal, as the middle of a sentence: "its answers change with padding".
        mend: what to do instead.

    Raises:
        ModelError: naming the model, its family, what differs and by how much.
    """
    if found := problem(backbone, key, ours, theirs, limit=limit):
        refuse(backbone, what, found, mend)


def refuse(backbone: Backbone, what: str, found: str, mend: str) -> None:
    """Raises ModelError in the words of every failed probe."""
    raise ModelError(f"{backbone.name}: a {type(backbone.model).__name__} is refused: {what} ({found}); {mend}")


@torch.no_grad()
def difference(ours: Callable[[], Tensor], theirs: Callable[[], Tensor], limit: float) -> str:
    """As `problem`, of what belongs to no backbone."""
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
