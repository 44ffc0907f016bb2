"""The last layer's MLP, computed only at the positions whose states are read.

What leaves the last layer goes to no other position, so the states that are read do not change; the gradients neither.
With few answer tokens after long prompts it is most of the work of one or two own layers.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from ensemw2s.models.loading.anatomy import layers_of


@contextlib.contextmanager
def last_mlp_at(model: PreTrainedModel, places: Int[Tensor, " places"]) -> Iterator[None]:
    """Meanwhile, states at all other places of the flattened batch are worthless.

    Holds for a forward pass and its backward pass, where layers may be computed again. A family whose layers have no
    part named `mlp` (OPT, BERT) is computed whole.
    """
    mlp = getattr(layers_of(model)[-1], "mlp", None)
    if not isinstance(mlp, nn.Module):
        yield
        return
    mlp.forward = functools.partial(_at, mlp.forward, places.to(model.device))
    try:
        yield
    finally:
        del mlp.forward


def _at(
    forward: Callable[[Tensor], Tensor], places: Int[Tensor, " places"], states: Float[Tensor, "batch length dim"]
) -> Float[Tensor, "batch length dim"]:
    read = forward(states.flatten(0, 1)[places].unsqueeze(0))[0]
    # Not zeros added to the states: what is not read gets nothing from the MLP and no gradient.
    whole = torch.zeros(states.shape[0] * states.shape[1], states.shape[2], dtype=read.dtype, device=read.device)
    return whole.index_copy(0, places, read).view(states.shape)
