"""The label model by judges, and what their scores say beside each other.

    z_mk    score of judge m for answer k, centred within its question, over the root mean square of all of m's
    judged  q_k = softmax_k((mean_m z_mk - pessimism * std_m z_mk) / tau)

A judge's scores of different questions are not comparable, which is why they are centred.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ensemw2s.core.arrays import accepts_arrays
from ensemw2s.core.labels.base import Labelled, Learn, NoStudents, Votes, everything
from ensemw2s.errors import ConfigError


@dataclass(frozen=True)
class Judged(NoStudents):
    """The answers that judges find best; a question of which they judge no answer keeps the ensemble's vote."""

    reads_judges: ClassVar[bool] = True
    pessimism: float = 0.0
    """How many standard deviations over the judges are taken off their mean, 0 or more."""
    tau: float = 1.0
    """Temperature of the distribution over the answers, above 0."""

    def __post_init__(self) -> None:
        if self.pessimism < 0 or self.tau <= 0:
            raise ValueError(
                f"judged: pessimism is {self.pessimism} and tau {self.tau}; give 0 or more and a tau above 0"
            )

    @accepts_arrays
    def __call__(self, votes: Votes, learn: Learn) -> Labelled:
        if votes.judged is None:
            raise ConfigError(
                "label_model: judged asks judges, and there are none; set judges.kind to trained, principles or "
                "likelihood in a run whose answers are words, or choose another label model"
            )
        worth = self.worth(votes.judged())
        is_judged = worth.isfinite().any(-1, keepdim=True)
        # Where no answer is judged, the softmax of -inf alone would be no number.
        soft = worth.masked_fill(~is_judged, 0.0).div(self.tau).softmax(-1)
        return everything(torch.where(is_judged, soft, votes.soft.double()))

    def worth(self, scores: Float[Tensor, "judges items classes"]) -> Float[Tensor, "items classes"]:
        """Of each answer, in float64; -inf where there is none."""
        z = standardised(scores)
        worth = z.mean(0) - self.pessimism * z.std(0, correction=0)
        return worth.masked_fill(~scores.isfinite().all(0), -torch.inf)


def standardised(scores: Float[Tensor, "judges items classes"]) -> Float[Tensor, "judges items classes"]:
    """Scores centred within their question and divided by each judge's spread, in float64; 0 where there is none."""
    there = scores.isfinite()
    known = scores.double().masked_fill(~there, 0.0)
    mean = known.sum(-1, keepdim=True) / there.sum(-1, keepdim=True).clamp_min(1)
    z = (known - mean).masked_fill(~there, 0.0)
    spread = (z.square().sum((1, 2)) / there.sum((1, 2)).clamp_min(1)).sqrt()
    return z / torch.where(spread > 0, spread, 1.0)[:, None, None]
