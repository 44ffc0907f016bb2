"""Training on answer tokens, and scoring them: weights per token, one normaliser for the whole data set."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ensemw2s.config import TrainConfig
from ensemw2s.core.pacing import Pace
from ensemw2s.core.token_loss import token_loss, token_loss_through
from ensemw2s.models.language import AnswerModel
from ensemw2s.models.last_mlp import last_mlp_at
from ensemw2s.models.packing import plan
from ensemw2s.models.trunk import length_batches
from ensemw2s.records import AnswerTokens, Inputs
from ensemw2s.train.checkpoint import Checkpointer
from ensemw2s.train.loop import optimise

SCORE_TOKENS = 2048
"""Prompt and answer tokens in one batch of scoring."""
HEAD_TOKENS = 128
"""Answer tokens that the vocabulary head is applied to at a time: their logits are the largest tensor there is."""


@dataclass(frozen=True)
class AnswerSupervision:
    """Rows to train on (a row may occur several times) and a weight for every answer token of the set."""

    answers: AnswerTokens
    rows: Int[Tensor, " samples"]
    weights: Float[Tensor, " tokens"]
    """Over all answer tokens of `answers`; 1 is plain training, 0 masks the token, 2 counts it twice."""
    pace: Pace | None = None
    """Easy rows first; None takes all from the start."""


def train_answers(
    module: AnswerModel,
    inputs: Inputs,
    supervision: AnswerSupervision,
    config: TrainConfig,
    *,
    seed: int,
    checkpointer: Checkpointer | None = None,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Train `module` in place on the weighted cross-entropy of answer tokens, teacher-forced.

    The loss of a data set is sum_i w_i CE_i / n over its n answer tokens (2410.04571, section 3). A step sees a batch
    of it and divides by the same n, scaled by the share of rows in a full batch: never by the weights or tokens that
    happen to be in the batch, so batches, micro-batches and shards of the data add up to the same gradient.

    Args:
        inputs: activations of `answers.read`, below the module's own layers.
    """
    rows = supervision.rows
    scale = len(rows) / (config.batch_size * len(supervision.answers.tokens_of(rows)))

    def accumulate(micro: Sequence[Tensor], train_frac: float) -> None:
        for part in micro:
            # A process without a row computes one that nobody counts: sharded weights come together in every pass.
            own, share = (rows[part], scale) if len(part) else (rows[:1], 0.0)
            with only_answers_read(module, inputs, supervision.answers, own, packing=config.packing):
                answer_loss(module, inputs, supervision, own).mul(share).backward()

    lengths, pace = inputs.lengths[rows], supervision.pace
    optimise(module, lengths, accumulate, config, seed=seed, pace=pace, checkpointer=checkpointer, on_step=on_step)


def answer_loss(
    module: AnswerModel, inputs: Inputs, supervision: AnswerSupervision, rows: Int[Tensor, " batch"]
) -> Float[Tensor, ""]:
    """The weighted sum of the cross-entropies of these rows' answer tokens."""
    answers = supervision.answers
    which = answers.tokens_of(rows)
    hidden = answer_states(module, inputs, answers, rows)
    targets, weights = answers.targets[which].to(hidden.device), supervision.weights[which].to(hidden.device)
    if not module.head.is_plain:
        return token_loss_through(module.logits, hidden, targets, weights, chunk=HEAD_TOKENS)
    return token_loss(hidden, module.unembedding, targets, weights, chunk=HEAD_TOKENS)


def answer_states(
    module: AnswerModel, inputs: Inputs, answers: AnswerTokens, rows: Int[Tensor, " batch"]
) -> Float[Tensor, "tokens dim"]:
    """The states that predict these rows' answer tokens: the vocabulary head is needed at no other position."""
    values, mask = inputs.batch(rows)
    return module.hidden(values, mask)[answer_positions(answers, rows)]


def only_answers_read(
    module: AnswerModel, inputs: Inputs, answers: AnswerTokens, rows: Int[Tensor, " batch"], *, packing: bool = False
) -> contextlib.AbstractContextManager[None]:
    """For a pass over these rows that reads `answer_states` alone: the last MLP is computed nowhere else."""
    row, position = answer_positions(answers, rows)
    lengths = inputs.lengths[rows]
    width = int(lengths.max())
    places = plan(lengths.tolist(), width).place[row, position] if packing else row * width + position
    return last_mlp_at(module.upper, places)


def answer_positions(
    answers: AnswerTokens, rows: Int[Tensor, " batch"]
) -> tuple[Int[Tensor, " tokens"], Int[Tensor, " tokens"]]:
    """(row in the batch, position) before each answer token, for right-padded batches of `answers.read`."""
    lengths = answers.offsets.diff()[rows]
    first = torch.tensor([answers.prompt_lengths[r] - 1 for r in rows.tolist()])
    row = torch.repeat_interleave(torch.arange(len(rows)), lengths)
    within = torch.arange(len(row)) - torch.repeat_interleave(lengths.cumsum(0) - lengths, lengths)
    return row, first[row] + within


@dataclass(frozen=True)
class Scores:
    """One model's or ensemble's view of given answers, teacher-forced."""

    gold: Float[Tensor, " tokens"]
    """Log-probability of each answer token."""
    is_wrong: Bool[Tensor, " tokens"]
    """Whether another token was likelier."""


@torch.no_grad()
def score_answers(module: AnswerModel, inputs: Inputs, answers: AnswerTokens, rows: Int[Tensor, " rows"]) -> Scores:
    """Log-probability and error of every answer token of these rows, in their order."""
    module.eval()
    gold: dict[int, Tensor] = {}
    wrong: dict[int, Tensor] = {}
    for places in batches_of(inputs, rows):
        with only_answers_read(module, inputs, answers, rows[places]):
            hidden = answer_states(module, inputs, answers, rows[places])
        targets = answers.targets[answers.tokens_of(rows[places])].to(hidden.device)
        parts = [
            token_scores(module.logits(h).float().log_softmax(-1), t)
            for h, t in zip(hidden.split(HEAD_TOKENS), targets.split(HEAD_TOKENS), strict=True)
        ]
        sizes = answers.offsets.diff()[rows[places]].tolist()
        for store, values in ((gold, [p[0] for p in parts]), (wrong, [p[1] for p in parts])):
            store.update(zip(places.tolist(), torch.cat(values).cpu().split(sizes), strict=True))
    return Scores(in_order(gold), in_order(wrong))


def token_scores(
    log_probs: Float[Tensor, "tokens vocab"], targets: Int[Tensor, " tokens"]
) -> tuple[Float[Tensor, " tokens"], Bool[Tensor, " tokens"]]:
    """Log-probability of each target, and whether it is not the likeliest token."""
    return log_probs.gather(-1, targets.unsqueeze(-1))[:, 0], log_probs.argmax(-1) != targets


def batches_of(inputs: Inputs, rows: Int[Tensor, " rows"]) -> Iterator[Int[Tensor, " batch"]]:
    """Places within `rows`, in batches of similar length."""
    for batch in length_batches(inputs.lengths[rows].tolist(), SCORE_TOKENS):
        yield torch.tensor(batch)


def in_order(pieces: dict[int, Tensor]) -> Tensor:
    """What was computed by length, back in the order of the rows."""
    return torch.cat([pieces[i] for i in range(len(pieces))])
