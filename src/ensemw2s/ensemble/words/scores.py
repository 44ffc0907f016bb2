"""Teacher-forced scores of given answers: of each member, and of the first t members together for every t."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ensemw2s.core.batches import length_batches
from ensemw2s.core.voting import Vote, staged
from ensemw2s.ensemble.words.members import Members
from ensemw2s.meter import working
from ensemw2s.models.language import AnswerModel, member_logits
from ensemw2s.records import AnswerTokens, Inputs
from ensemw2s.train.answers import answer_positions, answer_states, only_answers_read

SCORE_TOKENS = 2048
"""Prompt and answer tokens in one batch, padding included."""
HEAD_TOKENS = 128
"""Answer tokens that the vocabulary head is applied to at a time, half of them where there are several members: their
logits (members x tokens x vocabulary) are the largest tensor there is."""


@dataclass(frozen=True)
class StagedScores:
    """Teacher-forced scores of the answer tokens of some rows, in the order of the rows."""

    member_gold: Float[Tensor, "experts tokens"]
    """Log-probability of each answer token under each member."""
    member_wrong: Bool[Tensor, "experts tokens"]
    """Whether the member finds another token likelier."""
    gold: Float[Tensor, "experts tokens"]
    """Log-probability under the mixture of the first t members, for every t."""
    wrong: Bool[Tensor, "experts tokens"]
    """Whether that mixture finds another token likelier."""
    sizes: Int[Tensor, " rows"]
    """Number of answer tokens of each row."""

    def exact(self, wrong: Bool[Tensor, " tokens"]) -> Bool[Tensor, " rows"]:
        """Rows without a wrong token. Greedy decoding writes the given answer exactly where this holds."""
        return torch.tensor([not bool(part.any()) for part in wrong.split(self.sizes.tolist())], dtype=torch.bool)


@torch.no_grad()
def score_answers(
    members: Sequence[AnswerModel] | Members,
    inputs: Inputs,
    answers: AnswerTokens,
    rows: Int[Tensor, " rows"],
    *,
    weights: Float[Tensor, " experts"] | None = None,
    vote: Vote = "soft",
) -> StagedScores:
    """Score these rows' answers with every member and every mixture; each member reads each row once.

    Args:
        members: models over a cached trunk, or `Members`, which bring their own trunk.
        inputs: what the members read of `answers.read`: activations below the models' own layers, or token ids.
        rows: of `answers`; a row may occur several times.
        weights: vote weights of the members. None leaves the mixtures out, and `gold` and `wrong` are the members'.
        vote: how probabilities are mixed.
    """
    sizes = answers.offsets.diff()[rows]
    pieces: dict[int, Tensor] = {}
    with working("scoring", "answers", len(rows)) as advance:
        for batch in length_batches(inputs.lengths[rows].tolist(), SCORE_TOKENS):
            places = torch.tensor(batch)
            states = _states(members, inputs, answers, rows[places])
            targets = answers.targets[answers.tokens_of(rows[places])].to(states.device)
            chunk = HEAD_TOKENS if len(states) == 1 else HEAD_TOKENS // 2
            parts = [
                _chunk_scores(members, part, target, weights, vote)
                for part, target in zip(states.split(chunk, dim=1), targets.split(chunk), strict=True)
            ]
            scores = torch.cat(parts, dim=-1).cpu().split(sizes[places].tolist(), dim=-1)
            pieces.update(zip(batch, scores, strict=True))
            advance(len(batch))
    whole = torch.cat([pieces[i] for i in range(len(rows))], dim=-1)  # (4, experts, tokens)
    return StagedScores(whole[0], whole[1].bool(), whole[2], whole[3].bool(), sizes)


def _states(
    members: Sequence[AnswerModel] | Members, inputs: Inputs, answers: AnswerTokens, rows: Int[Tensor, " batch"]
) -> Float[Tensor, "experts tokens dim"]:
    """Final states of each member before each answer token."""
    if isinstance(members, Members):
        values, mask = inputs.batch(rows)
        row, position = answer_positions(answers, rows)
        return members.read(values, mask, None)[:, row, position]
    states = []
    for model in members:
        with only_answers_read(model.eval(), inputs, answers, rows):
            states.append(answer_states(model, inputs, answers, rows))
    return torch.stack(states)


def _chunk_scores(
    members: Sequence[AnswerModel] | Members,
    states: Float[Tensor, "experts tokens dim"],
    targets: Int[Tensor, " tokens"],
    weights: Float[Tensor, " experts"] | None,
    vote: Vote,
) -> Float[Tensor, "4 experts tokens"]:
    """Gold and wrong of the members, then gold and wrong of the mixtures."""
    logits = members.logits(states) if isinstance(members, Members) else member_logits(members, states)
    log_probs = logits.log_softmax(-1)
    each = [_token_scores(one, targets) for one in log_probs]
    mixed = each
    if weights is not None:
        mixed = [_token_scores(one, targets) for one in staged(log_probs, weights, vote=vote, dtype=torch.float32)]
    return torch.cat([torch.stack(each, dim=1), torch.stack(mixed, dim=1)])


def _token_scores(
    log_probs: Float[Tensor, "tokens vocab"], targets: Int[Tensor, " tokens"]
) -> Float[Tensor, "2 tokens"]:
    """Log-probability of each target, and 1 where another token is likelier."""
    gold = log_probs.gather(-1, targets.unsqueeze(-1))[:, 0]
    return torch.stack([gold, (log_probs.argmax(-1) != targets).float()])
