"""Training on answer tokens: a weight for each token, and one normaliser for the whole data set."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.config import TrainConfig
from ensemw2s.core.losses.tokens import token_loss, token_loss_through
from ensemw2s.core.pacing import Pace
from ensemw2s.models.language import AnswerModel
from ensemw2s.models.last_mlp import last_mlp_at
from ensemw2s.models.packing import plan
from ensemw2s.records import AnswerTokens, Inputs
from ensemw2s.train.checkpoint import Checkpointer
from ensemw2s.train.loop import optimise

HEAD_TOKENS = 128
"""Number of answer tokens that the vocabulary head is applied to at a time; their logits are the largest tensor."""


@dataclass(frozen=True)
class AnswerSupervision:
    """Training data of generation: rows (which may repeat) and a weight for every answer token."""

    answers: AnswerTokens
    rows: Int[Tensor, " samples"]
    weights: Float[Tensor, " tokens"]
    """Weight of each answer token of `answers`: 1 in plain training, 0 masks the token, 2 counts it twice."""
    pace: Pace | None = None
    """Curriculum; None trains on all rows from the start."""


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

    The loss of a data set is sum_i w_i CE_i / n over its n answer tokens (2410.04571, section 3). A step on a batch
    divides by the same n, scaled by the batch's share of the rows, and never by the weights or tokens of the batch. So
    batches, micro-batches and shards of the data add up to the same gradient.

    Args:
        inputs: activations of `answers.read`, below the module's layers.
    """
    rows = supervision.rows
    scale = len(rows) / (config.batch_size * len(supervision.answers.tokens_of(rows)))

    def accumulate(micro: Sequence[Tensor], train_frac: float) -> None:
        for part in micro:
            # A process without rows computes one with weight 0, because sharded weights are gathered in every pass.
            batch, share = (rows[part], scale) if len(part) else (rows[:1], 0.0)
            with only_answers_read(module, inputs, supervision.answers, batch, packing=config.packing):
                answer_loss(module, inputs, supervision, batch).mul(share).backward()

    lengths, pace = inputs.lengths[rows], supervision.pace
    optimise(module, lengths, accumulate, config, seed=seed, pace=pace, checkpointer=checkpointer, on_step=on_step)


def answer_loss(
    module: AnswerModel, inputs: Inputs, supervision: AnswerSupervision, rows: Int[Tensor, " batch"]
) -> Float[Tensor, ""]:
    """Weighted sum of the cross-entropies of these rows' answer tokens, in nats."""
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
    """Hidden states that predict these rows' answer tokens, the only positions that need the vocabulary head."""
    values, mask = inputs.batch(rows)
    return module.hidden(values, mask)[answer_positions(answers, rows)]


def only_answers_read(
    module: AnswerModel, inputs: Inputs, answers: AnswerTokens, rows: Int[Tensor, " batch"], *, packing: bool = False
) -> contextlib.AbstractContextManager[None]:
    """Context for a pass over these rows that reads only `answer_states`; the last MLP is computed only there."""
    row, position = answer_positions(answers, rows)
    lengths = inputs.lengths[rows]
    width = int(lengths.max())
    places = plan(lengths.tolist(), width).place[row, position] if packing else row * width + position
    return last_mlp_at(module.upper, places)


def answer_positions(
    answers: AnswerTokens, rows: Int[Tensor, " batch"]
) -> tuple[Int[Tensor, " tokens"], Int[Tensor, " tokens"]]:
    """Row and position before each answer token, in right-padded batches of `answers.read`."""
    lengths = answers.offsets.diff()[rows]
    first = torch.tensor([answers.prompt_lengths[r] - 1 for r in rows.tolist()])
    row = torch.repeat_interleave(torch.arange(len(rows)), lengths)
    within = torch.arange(len(row)) - torch.repeat_interleave(lengths.cumsum(0) - lengths, lengths)
    return row, first[row] + within
