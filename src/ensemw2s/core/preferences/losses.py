"""Losses on pairs of a chosen and a rejected answer, one number a pair.

With c and r the sums of the answers' token log-probabilities, c0 and r0 the same under the reference (the student as it
was before), n_c and n_r their numbers of tokens, s the logistic function, m a margin (0 but for denoised pairs):

    dpo    -log s(beta ((c - c0) - (r - r0)) - m) - anchor c / n_c             (2305.18290)
    ipo    ((c - c0) / n_c - (r - r0) / n_r - (1 / 2 + m) / beta)^2            (2310.12036, averaged by length)
    orpo   -c / n_c - lam log s(logit e^(c / n_c) - logit e^(r / n_r) - m)     (2403.07691; no reference)
    sft    -c / n_c                                                            (no preference: the baseline)

A pair that is the right way round with probability P counts as P of itself and 1 - P of itself turned round, with the
margin's sign changed. For dpo that is -P log s(d) - (1 - P) log s(-d), its conservative form, whose anchor follows.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid

_CERTAIN = -1e-6
"""Largest mean log-probability of which odds are taken: those of a certain answer have no end."""


class PairBatch(NamedTuple):
    """What a loss knows of some pairs."""

    chosen: Float[Tensor, " pairs"]
    """Sum of the token log-probabilities of the better answer, in nats."""
    rejected: Float[Tensor, " pairs"]
    chosen_tokens: Int[Tensor, " pairs"]
    rejected_tokens: Int[Tensor, " pairs"]
    reference_chosen: Float[Tensor, " pairs"]
    """The same sums before the first step."""
    reference_rejected: Float[Tensor, " pairs"]
    probability: Float[Tensor, " pairs"]
    """That the better answer is the better one; 1 unless the pairs are denoised."""
    margin: Float[Tensor, " pairs"]
    """By how much it is better, in the loss's own logits; 0 unless the pairs are denoised."""

    @property
    def turned(self) -> "PairBatch":
        """The same pairs the other way round."""
        return PairBatch(
            self.rejected,
            self.chosen,
            self.rejected_tokens,
            self.chosen_tokens,
            self.reference_rejected,
            self.reference_chosen,
            1.0 - self.probability,
            -self.margin,
        )


@runtime_checkable
class PreferenceLoss(Protocol):
    """A frozen dataclass per loss; its fields are its configuration."""

    def __call__(self, batch: PairBatch) -> Float[Tensor, " pairs"]:
        """The loss of each pair as if it were the right way round; `expected_loss` weighs what speaks against that."""
        ...


def expected_loss(loss: PreferenceLoss, batch: PairBatch) -> Float[Tensor, " pairs"]:
    """The mean of each pair's loss over which of its answers is the better one."""
    losses = loss(batch)
    if bool((batch.probability == 1.0).all()):
        return losses
    return batch.probability * losses + (1.0 - batch.probability) * loss(batch.turned)


@dataclass(frozen=True)
class Dpo:
    """The chosen answer gains on the rejected one, counted from the reference."""

    beta: float = 0.1
    """How much a nat of that gain counts, above 0: the larger, the sooner it is enough."""
    anchor: float = 0.0
    """Weight of the chosen answer's own mean log-probability, which the difference alone may lower; 0 or more."""

    def __post_init__(self) -> None:
        _check_positive("dpo", "beta", self.beta)
        if self.anchor < 0:
            raise ValueError(f"dpo: anchor is {self.anchor}; give 0 or more")

    def __call__(self, batch: PairBatch) -> Float[Tensor, " pairs"]:
        chosen, rejected = batch.chosen - batch.reference_chosen, batch.rejected - batch.reference_rejected
        gain = self.beta * (chosen - rejected) - batch.margin
        return -logsigmoid(gain) - self.anchor * batch.chosen / batch.chosen_tokens


@dataclass(frozen=True)
class Ipo:
    """The gain per token shall be 1 / (2 beta), with a margin more by margin / beta, and no more than that."""

    beta: float = 0.1

    def __post_init__(self) -> None:
        _check_positive("ipo", "beta", self.beta)

    def __call__(self, batch: PairBatch) -> Float[Tensor, " pairs"]:
        chosen = (batch.chosen - batch.reference_chosen) / batch.chosen_tokens
        rejected = (batch.rejected - batch.reference_rejected) / batch.rejected_tokens
        return (chosen - rejected - (0.5 + batch.margin) / self.beta).square()


@dataclass(frozen=True)
class Orpo:
    """The chosen answer is learned, and its odds shall be above those of the rejected one."""

    lam: float = 0.1
    """Weight of the odds beside the chosen answer's own loss, above 0."""

    def __post_init__(self) -> None:
        _check_positive("orpo", "lam", self.lam)

    def __call__(self, batch: PairBatch) -> Float[Tensor, " pairs"]:
        chosen, rejected = batch.chosen / batch.chosen_tokens, batch.rejected / batch.rejected_tokens
        return -chosen - self.lam * logsigmoid(_log_odds(chosen) - _log_odds(rejected) - batch.margin)


@dataclass(frozen=True)
class OnlyChosen:
    """The chosen answer is learned, whatever was rejected and by whatever margin."""

    def __call__(self, batch: PairBatch) -> Float[Tensor, " pairs"]:
        return -batch.chosen / batch.chosen_tokens


def _log_odds(log_probability: Float[Tensor, " pairs"]) -> Float[Tensor, " pairs"]:
    """log p - log(1 - p)."""
    return log_probability - torch.log(-torch.expm1(log_probability.clamp_max(_CERTAIN)))


def _check_positive(name: str, option: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name}: {option} is {value}; give a number above 0")
