"""Weighted cross-entropy over a vocabulary in chunks of positions, so that all logits are never in memory at once."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint  # pyright: ignore

from ensemw2s.hashing import sha256_of


class Targets(NamedTuple):
    """What is to be said at each position: a distribution over a few tokens of the vocabulary."""

    tokens: Int[Tensor, "tokens k"]
    """A token may occur several times: its probabilities add up."""
    probabilities: Float[Tensor, "tokens k"]
    """Each row sums to 1; less would shrink all logits of its position."""

    @classmethod
    def certain(cls, tokens: Int[Tensor, " tokens"]) -> "Targets":
        """One token at each position."""
        return cls(tokens[:, None], torch.ones(len(tokens), 1, device=tokens.device))

    def at(self, places: Int[Tensor, " places"] | slice) -> "Targets":
        """Those of these positions."""
        return Targets(self.tokens[places], self.probabilities[places])

    def to(self, device: torch.device, dtype: torch.dtype) -> "Targets":
        """On a device, with probabilities of this type."""
        return Targets(self.tokens.to(device, torch.long), self.probabilities.to(device, dtype))

    @property
    def digest(self) -> str:
        """sha256 of what they say."""
        return sha256_of(self.tokens.int().numpy().tobytes() + self.probabilities.float().numpy().tobytes())


def token_loss(
    hidden: Float[Tensor, "tokens dim"],
    unembedding: Float[Tensor, "vocab dim"],
    targets: Targets,
    weights: Float[Tensor, " tokens"],
    *,
    chunk: int,
) -> Float[Tensor, ""]:
    """sum_i weights[i] * CE(unembedding @ hidden[i], targets[i]), in nats.

    The gradient, w (softmax - q), is computed in the forward pass with the logits, so nothing is computed twice. Logits
    and softmax are in float32 (float64 for float64); the largest tensors are [chunk, vocab], and [vocab, dim] where
    `unembedding` is trained.
    """
    return _TokenLoss.apply(hidden.to(unembedding.dtype), unembedding, *targets, weights, chunk)  # pyright: ignore


def token_loss_through(
    head: Callable[[Float[Tensor, "chunk dim"]], Float[Tensor, "chunk vocab"]],
    hidden: Float[Tensor, "tokens dim"],
    targets: Targets,
    weights: Float[Tensor, " tokens"],
    *,
    chunk: int,
) -> Float[Tensor, ""]:
    """`token_loss` for heads that are more than one matrix product: soft caps, biases, further layers.

    The logits of a chunk are recomputed in the backward pass, so the largest tensors are [chunk, vocab] here, too.
    """

    def part(h: Tensor, tokens: Tensor, probabilities: Tensor, weight: Tensor) -> Tensor:
        exact = torch.promote_types(h.dtype, torch.float32)
        target = Targets(tokens, probabilities).to(h.device, exact)
        log_probs = head(h).to(exact).log_softmax(-1)
        return -(weight.to(exact)[:, None] * target.probabilities * log_probs.gather(1, target.tokens)).sum()

    total = torch.zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32), device=hidden.device)
    for start in range(0, len(hidden), chunk):
        rows = slice(start, start + chunk)
        loss = checkpoint(part, hidden[rows], *targets.at(rows), weights[rows], use_reentrant=False)  # pyright: ignore
        assert isinstance(loss, Tensor)
        total = total + loss
    return total


class _TokenLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        unembedding: Tensor,
        tokens: Tensor,
        probabilities: Tensor,
        weights: Tensor,
        chunk: int,
    ) -> Tensor:
        exact = torch.promote_types(hidden.dtype, torch.float32)
        by_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        by_head = torch.zeros_like(unembedding, dtype=exact) if ctx.needs_input_grad[1] else None
        total = torch.zeros((), dtype=exact, device=hidden.device)
        for start in range(0, len(hidden), chunk):
            part = slice(start, start + chunk)
            h, weight = hidden[part], weights[part].to(exact).unsqueeze(1)
            target = Targets(tokens[part], probabilities[part]).to(h.device, exact)
            log_probs = (h @ unembedding.T).to(exact).log_softmax(-1)
            total -= (weight * target.probabilities * log_probs.gather(1, target.tokens)).sum()
            by_logits = log_probs.exp_().scatter_add_(1, target.tokens, -target.probabilities).mul_(weight)
            by_logits = by_logits.to(hidden.dtype)
            if by_hidden is not None:
                by_hidden[part] = by_logits @ unembedding
            if by_head is not None:
                by_head += by_logits.T @ h
        ctx.save_for_backward(by_hidden, by_head)
        ctx.dtype = unembedding.dtype
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        by_hidden, by_head = ctx.saved_tensors
        for_hidden = None if by_hidden is None else by_hidden * grad.to(by_hidden.dtype)
        for_head = None if by_head is None else (by_head * grad).to(ctx.dtype)
        return for_hidden, for_head, None, None, None, None
