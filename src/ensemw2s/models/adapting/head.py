"""The classifier at the end of every expert and student."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor, nn


class Head(nn.Module):
    """A classifier on one pooled feature: linear without a bias, or with one hidden layer.

    The feature is divided by `scale`, the RMS of each dimension over the training examples (ones until `fit_scale`),
    because a language model has a few dimensions of very large magnitude that would dominate the others. A linear head
    with its scale folded in equals the `score` layer of the library's classifiers.
    """

    scale: Float[Tensor, " dim"]
    n_blocks: int = 1
    """How many poolings of a text lie side by side in a feature."""
    keeps_scale: bool = False
    """Whether the scale is that of other features than those that are learned, and a fit must not measure it anew."""

    def __init__(self, dim: int, n_classes: int, hidden: int, dropout: float, init_std: float, generator: Generator):
        super().__init__()
        self.register_buffer("scale", torch.ones(dim))
        self.dropout = nn.Dropout(dropout)
        self.hidden = _linear(dim, hidden, bias=True) if hidden else None
        self.score = _linear(hidden or dim, n_classes, bias=hidden > 0)
        with torch.no_grad():
            if self.hidden is not None:
                # Not init_std: hidden units that all start at 0 would never learn.
                self.hidden.weight.normal_(0.0, dim**-0.5, generator=generator)
                self.hidden.bias.zero_()
                self.score.bias.zero_()
            self.score.weight.normal_(0.0, init_std, generator=generator)

    def fit_scale(self, features: Float[Tensor, "examples dim"]) -> None:
        """Set `scale` to the root mean square of each dimension; a dimension that is always 0 keeps 1."""
        rms = features.float().square().mean(0).sqrt().to(self.scale.device)
        self.scale.copy_(torch.where(rms > 0, rms, 1.0))

    def restrict(self, is_read: Bool[Tensor, " dim"]) -> None:
        """Read only these dimensions. The others are divided by infinity and so are exact zeros, forwards and
        backwards.

        To be called after `fit_scale`. The scale is saved with the weights, and the restriction with it.
        """
        self.scale.masked_fill_(~is_read.to(self.scale.device), math.inf)

    def settle(self, is_read: Bool[Tensor, " dim"]) -> None:
        """As `restrict`, and leave no choice between poolings to the training."""
        self.restrict(is_read)
        self.n_blocks = 1

    def blocks(self) -> list[Bool[Tensor, " dim"]]:
        """The dimensions of each pooling by itself, and of all together, where there are several."""
        width = len(self.scale) // self.n_blocks
        block_of = torch.arange(len(self.scale)) // width
        alone = [block_of == block for block in range(self.n_blocks)] if self.n_blocks > 1 else []
        return [*alone, torch.ones_like(block_of, dtype=torch.bool)]

    def narrowed(self) -> tuple["Head", int] | None:
        """A linear head on the one pooling that this one reads, and its number; None where it reads several."""
        read = [b for b, is_in in enumerate(self.blocks()[:-1]) if bool(self.scale.cpu()[is_in].isfinite().any())]
        if len(read) != 1 or self.hidden is not None:
            return None
        is_in = self.blocks()[read[0]]
        alone = Head(int(is_in.sum()), len(self.score.weight), 0, 0.0, 0.0, torch.Generator())
        with torch.no_grad():
            alone.scale.copy_(self.scale.cpu()[is_in])
            alone.score.weight.copy_(self.score.weight.cpu()[:, is_in])
        return alone.to(self.scale.device), read[0]

    def pooled(self, values: Float[Tensor, "batch 1 dim"], mask: Int[Tensor, "batch 1"]) -> Float[Tensor, "batch dim"]:
        return values[:, 0].to(self.scale.device)

    def classify(self, features: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch classes"]:
        x = self.dropout(features.float() / self.scale)
        if self.hidden is not None:
            x = nn.functional.gelu(self.hidden(x))
        return self.score(x)

    def forward(
        self, values: Float[Tensor, "batch 1 dim"], mask: Int[Tensor, "batch 1"]
    ) -> Float[Tensor, "batch classes"]:
        """Logits from pooled features (`PooledInputs`)."""
        return self.classify(self.pooled(values, mask))


def _linear(dim: int, n_outputs: int, *, bias: bool) -> nn.Linear:
    # nn.Linear would draw initial weights from the global random stream.
    layer = nn.utils.skip_init(nn.Linear, dim, n_outputs, bias=bias)
    assert isinstance(layer, nn.Linear)
    return layer
