"""The last layer's MLP, computed only at the positions whose states are read.

The last layer's output at one position affects no other, so neither the states that are read nor the gradients change.
With few answer tokens after long prompts this MLP is most of the work of one or two trained layers.
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
    """Within this context the last MLP is computed only at these positions of the flattened batch; other states are
    invalid.

    The context must enclose the backward pass, too, where layers may be recomputed. A family whose layers have no part
    named `mlp` (OPT, BERT) is computed at all positions.
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
    # Positions that are not read get nothing from the MLP and no gradient.
    whole = torch.zeros(states.shape[0] * states.shape[1], states.shape[2], dtype=read.dtype, device=read.device)
    return whole.index_copy(0, places, read).view(states.shape)
