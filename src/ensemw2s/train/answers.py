"""Training on answer tokens: a weight for each token, and one normaliser for the whole data set."""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.config import TrainConfig, canonical_hash
from ensemw2s.core.batches import length_batches
from ensemw2s.core.losses.tokens import Targets, token_loss, token_loss_through
from ensemw2s.core.pacing import Pace
from ensemw2s.models.adapting.last_mlp import last_mlp_at
from ensemw2s.models.adapting.mixture import balance_loss, mixtures_of
from ensemw2s.models.language import AnswerModel
from ensemw2s.models.packing import plan
from ensemw2s.records import AnswerTokens, Inputs
from ensemw2s.train.checkpoint import Checkpointer
from ensemw2s.train.loop import optimise
from ensemw2s.train.micro import Tally
from ensemw2s.train.samples import held_out_fold
from ensemw2s.training_end import TrainingEnd

VALIDATION_TOKENS = 2048
"""Prompt and answer tokens of validation data in one batch, padding included."""
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
    soft: Targets | None = None
    """Distributions to be learned in the place of the answer tokens; None where these are certain."""

    def targets(self, which: Int[Tensor, " tokens"]) -> Targets:
        """What these answer tokens are learned as."""
        return Targets.certain(self.answers.targets[which]) if self.soft is None else self.soft.at(which)


@dataclass(frozen=True)
class AnswerValidation:
    """True answers that a training does not learn from."""

    inputs: Inputs
    """Activations of `answers.read`, below the module's layers."""
    answers: AnswerTokens
    rows: Int[Tensor, " val"]


def ended_by(validation: AnswerValidation | None, training: TrainConfig) -> dict[str, Any]:
    """What of the validation data decides a training, where anything does: for keys of the store."""
    if validation is None or training.patience is None:
        return {}
    return {"validation": canonical_hash([validation.answers.ids[r] for r in validation.rows.tolist()])}


def train_answers(
    module: AnswerModel,
    inputs: Inputs,
    supervision: AnswerSupervision,
    config: TrainConfig,
    *,
    seed: int,
    validation: AnswerValidation | None = None,
    checkpointer: Checkpointer | None = None,
) -> TrainingEnd:
    """Train `module` in place on the weighted cross-entropy of answer tokens, teacher-forced.

    The loss of a data set is sum_i w_i CE_i / n over its n answer tokens (2410.04571, section 3). A step on a batch
    divides by the same n, scaled by the batch's share of the rows, and never by the weights or tokens of the batch. So
    batches, micro-batches and shards of the data add up to the same gradient.

    Args:
        inputs: activations of `answers.read`, below the module's layers.
        validation: ends a training with `patience`; None holds a fifth of the rows out.
    """
    if config.patience is not None and validation is None:
        supervision, validation = _held_out(inputs, supervision, seed)
    rows = supervision.rows
    scale = len(rows) / (config.batch_size * len(supervision.answers.tokens_of(rows)))

    def accumulate(micro: Sequence[Tensor], train_frac: float) -> Tally:
        tally = torch.zeros(3)
        for part in micro:
            # A process without rows computes one with weight 0, because sharded weights are gathered in every pass.
            batch, share = (rows[part], scale) if len(part) else (rows[:1], 0.0)
            with only_answers_read(module, inputs, supervision.answers, batch, packing=config.packing):
                loss = answer_loss(module, inputs, supervision, batch)
                balance = balance_loss(module, inputs.lengths[rows[part]])
                (loss.mul(share) + balance / config.batch_size).backward()
            n_tokens, nobody_looks = len(supervision.answers.tokens_of(rows[part])), math.nan
            if n_tokens:
                tally = tally.to(loss.device) + torch.stack([loss.detach(), *loss.new_tensor([nobody_looks, n_tokens])])
        return tally

    def judge() -> float:
        assert validation is not None
        return validation_loss(module, validation, packing=config.packing)

    return optimise(
        module,
        inputs.lengths[rows],
        accumulate,
        config,
        seed=seed,
        judge=judge,
        pace=supervision.pace,
        checkpointer=checkpointer,
    )


@torch.no_grad()
def validation_loss(module: AnswerModel, validation: AnswerValidation, *, packing: bool = False) -> float:
    """Mean negative log-likelihood of an answer token, teacher-forced, in nats."""
    module.eval()
    inputs, answers, rows = validation.inputs, validation.answers, validation.rows
    total = 0.0
    for batch in length_batches(inputs.lengths[rows].tolist(), VALIDATION_TOKENS):
        part = rows[torch.tensor(batch)]
        with only_answers_read(module, inputs, answers, part, packing=packing):
            states = answer_states(module, inputs, answers, part)
        targets = answers.targets[answers.tokens_of(part)].to(states.device)
        for state, target in zip(states.split(HEAD_TOKENS), targets.split(HEAD_TOKENS), strict=True):
            log_probs = module.logits(state).float().log_softmax(-1)
            total -= float(log_probs.gather(-1, target[:, None]).double().sum())
    return total / len(answers.tokens_of(rows))


def _held_out(inputs: Inputs, supervision: AnswerSupervision, seed: int) -> tuple[AnswerSupervision, AnswerValidation]:
    """The training data without a fifth of their rows, and that fifth."""
    is_held, pace = held_out_fold(supervision.rows, seed), supervision.pace
    kept = replace(
        supervision,
        rows=supervision.rows[~is_held],
        pace=None if pace is None else replace(pace, hardness=pace.hardness[~is_held]),
    )
    return kept, AnswerValidation(inputs, supervision.answers, supervision.rows[is_held])


def answer_loss(
    module: AnswerModel, inputs: Inputs, supervision: AnswerSupervision, rows: Int[Tensor, " batch"]
) -> Float[Tensor, ""]:
    """Weighted sum of the cross-entropies of these rows' answer tokens, in nats."""
    answers = supervision.answers
    which = answers.tokens_of(rows)
    hidden = answer_states(module, inputs, answers, rows)
    return weighted_loss(module, hidden, supervision.targets(which), supervision.weights[which])


def weighted_loss(
    module: AnswerModel,
    hidden: Float[Tensor, "tokens dim"],
    targets: Targets,
    weights: Float[Tensor, " tokens"],
) -> Float[Tensor, ""]:
    """sum_i weights[i] CE_i of the tokens that follow these states, whose logits never are in memory all at once."""
    weights = weights.to(hidden.device)
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
    """Context for a pass over these rows that reads only `answer_states`; the last MLP is computed only there, but for
    a mixture, which is balanced over all tokens."""
    if mixtures_of(module):
        return contextlib.nullcontext()
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
