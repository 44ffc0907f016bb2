"""Losses on pairs of a chosen and a rejected answer, one number a pair.

With c and r the sums of the answers' token log-probabilities, c0 and r0 the same under the reference (the student as it
was before), n_c and n_r their numbers of tokens, s the logistic function:

    dpo    -log s(beta ((c - c0) - (r - r0))) - anchor c / n_c                 (2305.18290)
    ipo    ((c - c0) / n_c - (r - r0) / n_r - 1 / (2 beta))^2                  (2310.12036, averaged by length)
    orpo   -c / n_c - lam log s(logit e^(c / n_c) - logit e^(r / n_r))         (2403.07691; no reference)
    sft    -c / n_c                                                            (no preference: the baseline)
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


@runtime_checkable
class PreferenceLoss(Protocol):
    """A frozen dataclass per loss; its fields are its configuration."""

    def __call__(self, batch: PairBatch) -> Float[Tensor, " pairs"]: ...


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
        return -logsigmoid(self.beta * (chosen - rejected)) - self.anchor * batch.chosen / batch.chosen_tokens


@dataclass(frozen=True)
class Ipo:
    """The gain per token shall be 1 / (2 beta), and no more."""

    beta: float = 0.1

    def __post_init__(self) -> None:
        _check_positive("ipo", "beta", self.beta)

    def __call__(self, batch: PairBatch) -> Float[Tensor, " pairs"]:
        chosen = (batch.chosen - batch.reference_chosen) / batch.chosen_tokens
        rejected = (batch.rejected - batch.reference_rejected) / batch.rejected_tokens
        return (chosen - rejected - 1.0 / (2.0 * self.beta)).square()


@dataclass(frozen=True)
class Orpo:
    """The chosen answer is learned, and its odds shall be above those of the rejected one."""

    lam: float = 0.1
    """Weight of the odds beside the chosen answer's own loss, above 0."""

    def __post_init__(self) -> None:
        _check_positive("orpo", "lam", self.lam)

    def __call__(self, batch: PairBatch) -> Float[Tensor, " pairs"]:
        chosen, rejected = batch.chosen / batch.chosen_tokens, batch.rejected / batch.rejected_tokens
        return -chosen - self.lam * logsigmoid(_log_odds(chosen) - _log_odds(rejected))


@dataclass(frozen=True)
class OnlyChosen:
    """The chosen answer is learned, whatever was rejected."""

    def __call__(self, batch: PairBatch) -> Float[Tensor, " pairs"]:
        return -batch.chosen / batch.chosen_tokens


def _log_odds(log_probability: Float[Tensor, " pairs"]) -> Float[Tensor, " pairs"]:
    """log p - log(1 - p)."""
    return log_probability - torch.log(-torch.expm1(log_probability.clamp_max(_CERTAIN)))


def _check_positive(name: str, option: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name}: {option} is {value}; give a number above 0")
