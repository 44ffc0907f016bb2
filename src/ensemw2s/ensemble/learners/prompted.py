"""The pretrained model itself as a member: asked behind a context, calibrated, and never trained."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.records import View

Ask = Callable[[int, Int[Tensor, " rows"]], Float[Tensor, "rows classes"]]
"""From the number of a context and rows to the log-likelihood of each choice."""
OFFSET = "offset"
"""Name of a member's only tensor: what is taken from each class's log-likelihood."""


@dataclass(frozen=True)
class Prompted:
    """A model that is asked behind one context."""

    ask: Ask
    context: int
    offset: Float[Tensor, " classes"]

    def log_probs(self, X: Int[Tensor, " rows"]) -> Float[Tensor, "rows classes"]:
        return calibrated(self.ask(self.context, X), self.offset)

    def state(self) -> dict[str, Tensor]:
        return {OFFSET: self.offset}


@dataclass(frozen=True)
class PromptedLearner:
    """Trains nothing: what is learned of the rows is how much the context makes of each class."""

    ask: Ask
    calibrate: Literal["mean", "none"]
    context: int = 0

    def adapted(self, X: Int[Tensor, " rows"], view: View, seed: int) -> "PromptedLearner":
        assert view.context is not None, "a member that is asked has a context, if an empty one"
        return replace(self, context=view.context)

    def fit(
        self,
        X: Int[Tensor, " rows"],
        target: Float[Tensor, "rows classes"],
        sample_weight: Float[Tensor, " rows"],
        *,
        seed: int,
    ) -> Prompted:
        if self.calibrate == "none":
            return Prompted(self.ask, self.context, torch.zeros(target.shape[1]))
        return Prompted(self.ask, self.context, offset_of(self.ask(self.context, X), target))


def offset_of(said: Float[Tensor, "rows classes"], target: Float[Tensor, "rows classes"]) -> Float[Tensor, " classes"]:
    """What to take from each class's log-likelihood: its mean over these rows, less the log of the class's share.

    Demonstrations favour some classes whatever the question, such as that of the last one. Without the mean, classes
    are as likely as each other on average; where they are not equally frequent, the share says so.
    """
    share = (target.sum(0) + 1.0) / (len(target) + target.shape[1])  # no class is ruled out for want of an example
    return said.mean(0) - share.log()


def calibrated(said: Float[Tensor, "rows classes"], offset: Float[Tensor, " classes"]) -> Float[Tensor, "rows classes"]:
    """Log-probabilities of the classes without what the context makes of each."""
    return (said - offset).log_softmax(-1) if offset.any() else said
