"""The distribution behind every token of written answers: what of an ensemble's doubt its student can learn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.core.losses.tokens import Targets
from ensemw2s.ensemble.words.decode import Decoded
from ensemw2s.records import AnswerTokens

TOP = 64
"""Likeliest tokens that are kept of a mixture."""
_END = -1


@dataclass(frozen=True)
class Mixtures:
    """Of several answers, step by step, one answer after another."""

    written: Int[Tensor, " steps"]
    """The token that was taken, -1 for the end token."""
    tokens: Int[Tensor, "steps top"]
    log_probs: Float[Tensor, "steps top"]
    """Of these tokens under the whole mixture, so their probabilities sum to the mass that was kept."""
    offsets: Int[Tensor, " boundaries"]
    """The first step of each answer, and the number of all at the end."""

    @classmethod
    def of(cls, decoded: Sequence[Decoded]) -> "Mixtures":
        """Of answers that were written with `n_likeliest`."""
        sizes = [len(d.log_probs) for d in decoded]
        steps = [(*d.tokens, _END)[:n] for d, n in zip(decoded, sizes, strict=True)]
        return cls(
            torch.tensor([token for each in steps for token in each], dtype=torch.int32),
            torch.cat([d.likeliest_tokens for d in decoded]).int(),
            torch.cat([d.likeliest_log_probs for d in decoded]),
            torch.tensor([0, *sizes]).cumsum(0),
        )

    @property
    def tensors(self) -> dict[str, Tensor]:
        """For an artifact."""
        return {f"mixture/{name}": tensor for name, tensor in vars(self).items()}

    @classmethod
    def read(cls, tensors: dict[str, Tensor]) -> "Mixtures | None":
        """Of an artifact's tensors; None where it has no mixtures."""
        names = ("written", "tokens", "log_probs", "offsets")
        return cls(*(tensors[f"mixture/{name}"] for name in names)) if "mixture/written" in tensors else None

    @property
    def record(self) -> dict[str, Any]:
        """How much of the probability is kept, of a step: on average, and at least."""
        kept = self.log_probs.double().exp().sum(-1)
        return {"top": self.tokens.shape[1], "kept_mass": float(kept.mean()), "least_kept_mass": float(kept.min())}

    def targets(self, answers: AnswerTokens, written: Sequence[int | None], *, share: float, n_tokens: int) -> Targets:
        """q = (1 - share) onehot + share mixture, for every answer token.

        A mixture is known as long as the answer goes as the written one did: at its own tokens, and at the first that
        differs. Elsewhere a token is certain.

        Args:
            answers: to be learned.
            written: of each, which of the written answers it is to be held against; None where it is certain.
            share: of the mixture.
            n_tokens: of the model that learns; what it has no logit for (rows that only pad a vocabulary) is left out.
        """
        gold = answers.targets
        tokens = gold.int()[:, None].repeat(1, 1 + self.tokens.shape[1])
        probabilities = torch.zeros(tokens.shape)
        probabilities[:, 0] = 1.0
        for row, place in enumerate(written):
            if place is None:
                continue
            own = slice(int(answers.offsets[row]), int(answers.offsets[row + 1]))
            steps = slice(int(self.offsets[place]), int(self.offsets[place + 1]))
            n = _known(gold[own], self.written[steps])
            own, steps = slice(own.start, own.start + n), slice(steps.start, steps.start + n)
            has_logit = self.tokens[steps] < n_tokens
            mixture = self.log_probs[steps].masked_fill(~has_logit, -torch.inf).softmax(-1)
            tokens[own, 1:] = torch.where(has_logit, self.tokens[steps], tokens[own, :1])
            probabilities[own, 0], probabilities[own, 1:] = 1.0 - share, share * mixture
        return Targets(tokens, probabilities)


def _known(gold: Int[Tensor, " tokens"], written: Int[Tensor, " steps"]) -> int:
    """How many tokens stand behind the same tokens in both."""
    n = min(len(gold), len(written))
    return min(n, 1 + int((gold[:n] == written[:n]).long().cumprod(0).sum()))
