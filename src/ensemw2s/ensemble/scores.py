"""An ensemble's view of given answers, for every size, from one evaluation of each expert."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ensemw2s.core.voting import Vote, staged
from ensemw2s.models.language import AnswerModel, member_logits
from ensemw2s.records import AnswerTokens, Inputs
from ensemw2s.train.answers import answer_states, batches_of, token_scores

HEAD_TOKENS = 64
"""Answer tokens mixed at a time: experts x tokens x vocabulary is the largest tensor there is."""


@dataclass(frozen=True)
class StagedScores:
    """Teacher-forced scores of the answer tokens of some rows, in the order of the rows."""

    member_gold: Float[Tensor, "experts tokens"]
    member_wrong: Bool[Tensor, "experts tokens"]
    gold: Float[Tensor, "experts tokens"]
    """Of the first t experts together, for every t."""
    wrong: Bool[Tensor, "experts tokens"]
    sizes: Int[Tensor, " rows"]
    """Answer tokens of each row."""

    def exact(self, wrong: Bool[Tensor, " tokens"]) -> Bool[Tensor, " rows"]:
        """Rows whose every token is right. For greedy decoding that is: the answer written is the given one."""
        return torch.tensor([not bool(part.any()) for part in wrong.split(self.sizes.tolist())], dtype=torch.bool)


@torch.no_grad()
def staged_scores(
    models: Sequence[AnswerModel],
    expert_weights: Float[Tensor, " experts"],
    inputs: Inputs,
    answers: AnswerTokens,
    rows: Int[Tensor, " rows"],
    *,
    vote: Vote = "soft",
) -> StagedScores:
    """Score these rows' answers with every member and with the first t members for every t: T passes in all."""
    pieces: dict[int, Tensor] = {}
    sizes = answers.offsets.diff()[rows]
    for places in batches_of(inputs, rows):
        states = torch.stack([answer_states(model, inputs, answers, rows[places]) for model in models])
        targets = answers.targets[answers.tokens_of(rows[places])].to(states.device)
        found = torch.cat(
            [
                _mixed(models, expert_weights, part, target, vote)
                for part, target in zip(states.split(HEAD_TOKENS, dim=1), targets.split(HEAD_TOKENS), strict=True)
            ],
            dim=-1,
        )
        pieces.update(zip(places.tolist(), found.cpu().split(sizes[places].tolist(), dim=-1), strict=True))
    whole = torch.cat([pieces[i] for i in range(len(rows))], dim=-1)
    return StagedScores(whole[0], whole[1].bool(), whole[2], whole[3].bool(), sizes)


def _mixed(
    models: Sequence[AnswerModel],
    expert_weights: Float[Tensor, " experts"],
    states: Float[Tensor, "experts tokens dim"],
    targets: Int[Tensor, " tokens"],
    vote: Vote,
) -> Float[Tensor, "4 experts tokens"]:
    logits = member_logits(models, states).log_softmax(-1)
    members = [token_scores(one, targets) for one in logits]
    together = [token_scores(one, targets) for one in staged(logits, expert_weights, vote=vote, dtype=torch.float32)]
    return torch.stack(
        [torch.stack([score[i].float() for score in scores]) for scores in (members, together) for i in (0, 1)]
    )
