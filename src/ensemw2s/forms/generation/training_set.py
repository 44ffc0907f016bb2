"""What a student that generates answers is trained on."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from ensemw2s.config import TrainConfig
from ensemw2s.forms.generation.prepare import join, joined_inputs
from ensemw2s.records import AnswerTokens, Inputs
from ensemw2s.train.answers import AnswerSupervision, AnswerValidation


@dataclass(frozen=True)
class AnswerTrainingSet:
    """What one student learns."""

    training: TrainConfig
    """Resolved."""
    inputs: Inputs
    """Trunk activations of the supervision's answers."""
    supervision: AnswerSupervision
    validation: AnswerValidation | None
    """The easy answers that may end the training."""


@dataclass(frozen=True)
class LabelledAnswers:
    """True answers as the strong model's tokens."""

    answers: AnswerTokens
    inputs: Inputs
    """Their trunk activations."""
    rows: Int[Tensor, " answers"]
    """Of the split."""
    learned: Int[Tensor, " learned"]
    """Places among the answers."""

    def and_all(self, more: "LabelledAnswers") -> "LabelledAnswers":
        """These, and behind them all of `more`, which is learned too."""
        return LabelledAnswers(
            join(self.answers, more.answers),
            joined_inputs(self.inputs, more.inputs),
            torch.cat([self.rows, more.rows]),
            torch.cat([self.learned, len(self.answers.ids) + torch.arange(len(more.answers.ids))]),
        )
