"""A second lesson: a student that has learned answers learns which of two is better.

A loss on pairs touches the network through sums of token log-probabilities alone. So its gradient is that of a token
cross-entropy with weights, -dL/dc on the chosen answer's tokens and -dL/dr on the rejected one's, which are known once
the sums are. The states are computed once, the product with the vocabulary head twice, and logits are in memory in
chunks alone. Tokens with which both answers begin have equal contexts, and their gradients cancel.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.config import TrainConfig
from ensemw2s.core.batches import length_batches
from ensemw2s.core.losses.tokens import Targets
from ensemw2s.core.preferences import PairBatch, PreferenceLoss, expected_loss
from ensemw2s.distributed import launch
from ensemw2s.models.adapting.mixture import balance_loss
from ensemw2s.models.language import AnswerModel
from ensemw2s.records import AnswerTokens, Inputs
from ensemw2s.train.answers import (
    HEAD_TOKENS,
    VALIDATION_TOKENS,
    answer_states,
    only_answers_read,
    weighted_loss,
)
from ensemw2s.train.checkpoint import Checkpointer, owned_parameters
from ensemw2s.train.loop import optimise
from ensemw2s.train.micro import Tally
from ensemw2s.training_end import TrainingEnd


@dataclass(frozen=True)
class PairSupervision:
    """What is learned: pairs, and how far to trust each."""

    answers: AnswerTokens
    """Rows 2i and 2i + 1 are the chosen and the rejected answer of pair i."""
    probability: Float[Tensor, " pairs"]
    """As of `PairBatch`, as is the margin."""
    margin: Float[Tensor, " pairs"]

    @classmethod
    def certain(cls, answers: AnswerTokens) -> "PairSupervision":
        """Pairs that nobody doubts."""
        n = len(answers.ids) // 2
        return cls(answers, torch.ones(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64))


@dataclass(frozen=True)
class LessonEnd:
    """What came out of a second lesson."""

    is_kept: bool
    """Whether it made the student better; else its weights are those from before."""
    wrong_before: float | None
    """Share of the validation questions that the student got wrong before it; None where nobody looked."""
    wrong_after: float | None
    chosen_before: float
    """Mean log-probability of a token of the better answers before it, in nats."""
    chosen_after: float
    n_pairs: int

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "LessonEnd":
        """The end that an artifact's record holds."""
        return cls(**record["lesson"])

    @property
    def record(self) -> dict[str, Any]:
        """For an artifact's record."""
        return {"lesson": asdict(self)}


def train_pairs(
    module: AnswerModel,
    inputs: Inputs,
    supervision: PairSupervision,
    loss: PreferenceLoss,
    config: TrainConfig,
    *,
    seed: int,
    judge: Callable[[AnswerModel], float] | None,
    checkpointer: Checkpointer | None = None,
) -> tuple[TrainingEnd, LessonEnd]:
    """Train `module` in place on pairs, from the weights that it comes with, which are the reference, too.

    The loss of a step is the sum over its pairs divided by `batch_size`; micro-batches and processes add up to it.

    Args:
        inputs: activations of `supervision.answers.read`, below the module's layers.
        judge: share of validation questions that a module gets wrong. It ends a training with `patience`, and the
            student from before is kept unless the one after is better; None keeps the one after.
    """
    answers = supervision.answers
    n_pairs, n_tokens = len(answers.ids) // 2, answers.offsets.diff()
    start = {name: p.detach().clone() for name, p in owned_parameters(module)}
    everything = torch.arange(2 * n_pairs)
    reference = answer_log_probs(module, inputs, answers, everything)
    before = None if judge is None else launch.agreed(judge(module))

    def accumulate(micro: Sequence[Tensor], train_frac: float) -> Tally:
        tally = torch.zeros(3)
        for part in micro:
            # A process without pairs computes one with weight 0, because sharded weights are gathered in every pass.
            pairs, share = (part, 1.0 / config.batch_size) if len(part) else (torch.zeros(1, dtype=torch.long), 0.0)
            packing = config.packing
            values = add_gradient(module, inputs, supervision, loss, reference, pairs, share=share, packing=packing)
            if len(part):
                tally += torch.stack([values.sum().float(), torch.tensor(torch.nan), torch.tensor(float(len(part)))])
        return tally

    def judged() -> float:
        assert judge is not None
        return judge(module)

    end = optimise(
        module,
        inputs.lengths.unflatten(0, (n_pairs, 2)).sum(1),
        accumulate,
        config,
        seed=seed,
        judge=judged,
        checkpointer=checkpointer,
    )
    after = None if judge is None else launch.agreed(judge(module))
    learned = answer_log_probs(module, inputs, answers, everything)
    is_kept = before is None or after is None or after < before
    if not is_kept:
        with torch.no_grad():
            for name, parameter in owned_parameters(module):
                parameter.copy_(launch.like(start[name].to(parameter.device), parameter))
    chosen_before, chosen_after = (float(sums[::2].sum() / n_tokens[::2].sum()) for sums in (reference, learned))
    return end, LessonEnd(is_kept, before, after, chosen_before, chosen_after, n_pairs)


def add_gradient(
    module: AnswerModel,
    inputs: Inputs,
    supervision: PairSupervision,
    loss: PreferenceLoss,
    reference: Float[Tensor, " rows"],
    pairs: Int[Tensor, " pairs"],
    *,
    share: float = 1.0,
    packing: bool = False,
) -> Float[Tensor, " pairs"]:
    """Add the gradient of `share` times these pairs' summed loss to the module's parameters. Returns each loss."""
    rows, answers = torch.stack([2 * pairs, 2 * pairs + 1], dim=1).flatten(), supervision.answers
    targets, sizes = answers.targets[answers.tokens_of(rows)], answers.offsets.diff()[rows]
    with only_answers_read(module, inputs, answers, rows, packing=packing):
        hidden = answer_states(module, inputs, answers, rows)
        sums = token_sums(module, hidden, targets, sizes)
        doubt = supervision.probability[pairs], supervision.margin[pairs]
        values, slopes = pair_slopes(loss, sums, reference[rows], sizes, *doubt)
        balance = balance_loss(module, inputs.lengths[rows]) / 2  # of two answers
        learned = weighted_loss(module, hidden, Targets.certain(targets), (-share * slopes).repeat_interleave(sizes))
        (learned + share * balance).backward()
    return values


def pair_slopes(
    loss: PreferenceLoss,
    sums: Float[Tensor, " rows"],
    reference: Float[Tensor, " rows"],
    sizes: Int[Tensor, " rows"],
    probability: Float[Tensor, " pairs"],
    margin: Float[Tensor, " pairs"],
) -> tuple[Float[Tensor, " pairs"], Float[Tensor, " rows"]]:
    """The loss of each pair, and the derivative of their sum with respect to each answer's log-probability.

    Args:
        sums: log-probabilities of chosen and rejected answers in turn, as `reference` and `sizes`.
    """
    with torch.enable_grad():
        leaf = sums.detach().requires_grad_()
        each = leaf[::2], leaf[1::2], sizes[::2], sizes[1::2], reference[::2], reference[1::2]
        values = expected_loss(loss, PairBatch(*each, probability, margin))
        (slopes,) = torch.autograd.grad(values.sum(), leaf)
    return values.detach(), slopes


@torch.no_grad()
def token_sums(
    module: AnswerModel,
    hidden: Float[Tensor, "tokens dim"],
    targets: Int[Tensor, " tokens"],
    sizes: Int[Tensor, " rows"],
) -> Float[Tensor, " rows"]:
    """Sum of the log-probabilities of each answer's tokens, which follow these states; on the CPU in float64."""
    found: list[Tensor] = []
    for state, target in zip(hidden.split(HEAD_TOKENS), targets.to(hidden.device).split(HEAD_TOKENS), strict=True):
        logits = module.logits(state)
        log_probs = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
        found.append(log_probs.gather(-1, target[:, None])[:, 0].double().cpu())
    return torch.stack([part.sum() for part in torch.cat(found).split(sizes.tolist())])


@torch.no_grad()
def answer_log_probs(
    module: AnswerModel, inputs: Inputs, answers: AnswerTokens, rows: Int[Tensor, " rows"]
) -> Float[Tensor, " rows"]:
    """Log-probability of each of these answers, in evaluation mode."""
    module.eval()
    sizes = answers.offsets.diff()[rows]
    found = torch.zeros(len(rows), dtype=torch.float64)
    for batch in length_batches(inputs.lengths[rows].tolist(), VALIDATION_TOKENS):
        places = torch.tensor(batch)
        with only_answers_read(module, inputs, answers, rows[places]):
            hidden = answer_states(module, inputs, answers, rows[places])
        found[places] = token_sums(module, hidden, answers.targets[answers.tokens_of(rows[places])], sizes[places])
    return found
