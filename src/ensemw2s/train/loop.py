"""One training function: an expert, a student and a ceiling differ only in rows, targets, weights and loss."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ensemw2s.config import TrainConfig
from ensemw2s.core.losses import LINKS, SOFTMAX, GlobalStats, WeakBatch, WeakToStrongLoss
from ensemw2s.core.pacing import Pace
from ensemw2s.core.seeds import stream, stream_seed
from ensemw2s.distributed import launch as processes
from ensemw2s.models.packing import sequences_packed
from ensemw2s.models.upper import layers_recomputed, sharded
from ensemw2s.records import Inputs
from ensemw2s.train.checkpoint import Checkpointer, restore, snapshot
from ensemw2s.train.micro import Accumulate, MicroBatches
from ensemw2s.train.optim import learning_rate_at, make_optimizer


@dataclass(frozen=True)
class Supervision:
    """What a module is trained on: rows of the inputs (a row may occur several times), each with target and weight."""

    rows: Int[Tensor, " samples"]
    targets: WeakBatch
    """`targets.soft` is [samples, classes]; one-hot for true labels."""
    weights: Float[Tensor, " samples"]
    """Mean 1 over the data set: the one normaliser, so that a batch's weights are never renormalised."""
    pace: Pace | None = None
    """Easy samples first; None takes all from the start."""

    def take(self, index: Int[Tensor, " batch"]) -> WeakBatch:
        """The targets of these samples."""
        t = self.targets
        return WeakBatch(
            soft=t.soft[index],
            member=None if t.member is None else t.member[:, index],
            group=None if t.group is None else t.group[index],
        )


def n_steps(n_samples: int, config: TrainConfig) -> int:
    """Optimiser steps of a whole training."""
    return config.epochs * -(-n_samples // config.batch_size)


def train(
    module: nn.Module,
    inputs: Inputs,
    supervision: Supervision,
    loss: WeakToStrongLoss,
    config: TrainConfig,
    *,
    seed: int,
    checkpointer: Checkpointer | None = None,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Train `module` in place; the result depends on the arguments alone, not on interruptions or micro-batches.

    The loss of a step is sum_i w_i loss_i / batch_size over its global batch; gradients of its micro-batches add up
    to the same sum.

    Args:
        module: called as module(values, mask) -> logits [batch, classes].
        seed: of the order of the samples and of dropout.
        checkpointer: where to resume from and save to, for trainings too long to lose.
    """

    def accumulate(micro: Sequence[Tensor], train_frac: float) -> None:
        _accumulate(module, inputs, supervision, loss, config, micro, train_frac=train_frac)

    lengths, pace = inputs.lengths[supervision.rows], supervision.pace
    optimise(module, lengths, accumulate, config, seed=seed, pace=pace, checkpointer=checkpointer, on_step=on_step)


def optimise(
    module: nn.Module,
    lengths: Int[Tensor, " samples"],
    accumulate: Accumulate,
    config: TrainConfig,
    *,
    seed: int,
    pace: Pace | None = None,
    checkpointer: Checkpointer | None = None,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """The steps of any training over samples of these lengths, in tokens.

    Shuffled by epoch, within what its pace lets in, resumed from the checkpointer's snapshot where it has one, in
    evaluation mode at the end. Of several processes each takes its part of every batch, and all make the same step.

    Raises:
        ModelError: with `micro_batch_size: auto`, not even one sample fits into memory.
    """
    n_samples = len(lengths)
    total = n_steps(n_samples, config)
    per_epoch = total // config.epochs
    if processes.is_sharded():
        sharded(module)
    optimizer = make_optimizer(module, config)
    module.train()
    recomputed = layers_recomputed(module) if config.gradient_checkpointing else contextlib.nullcontext()
    packed = sequences_packed(module) if config.packing else contextlib.nullcontext()
    with torch.random.fork_rng(devices=[]), recomputed, packed:
        # Dropout's masks differ between processes as between the rows of one.
        torch.manual_seed(stream_seed(seed, "dropout", *([processes.rank()] if processes.rank() else [])))
        micro = MicroBatches(module, config)
        micro.try_out(lengths, config.batch_size, accumulate)
        done = 0
        if checkpointer is not None and (saved := checkpointer.load()) is not None:
            done = restore(module, optimizer, saved)
        for step in range(done, total):
            epoch, position = divmod(step, per_epoch)
            if position == 0 or step == done:
                draw = stream(seed, "order", epoch)
                if pace is None:
                    order = torch.randperm(n_samples, generator=draw)
                else:
                    order = pace.epoch_order(epoch, config.epochs, config.batch_size, draw)
            index = order[position * config.batch_size : (position + 1) * config.batch_size]
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(step, total, config)
            micro.accumulate(index, step / total, accumulate)
            processes.sum_gradients(module)
            nn.utils.clip_grad_norm_(module.parameters(), config.max_grad_norm)
            optimizer.step()
            on_step(step + 1, total)
            if checkpointer is not None and (step + 1) % config.checkpoint_steps == 0 and step + 1 < total:
                checkpointer.save(snapshot(module, optimizer, step + 1))
    processes.gather_back(module)
    module.eval()


def _accumulate(
    module: nn.Module,
    inputs: Inputs,
    supervision: Supervision,
    loss: WeakToStrongLoss,
    config: TrainConfig,
    micro: Sequence[Int[Tensor, " _"]],
    *,
    train_frac: float,
) -> None:
    """Add the gradient of this process's part of a global batch to the module's parameters."""
    mine = supervision.take(torch.cat(list(micro)))
    stats = GlobalStats()
    if loss.needs_stats and len(micro) > 1:
        # The statistics belong to the global batch, so its logits are needed before any micro-batch's loss. The
        # dropout masks of this pass must be those of the training pass, or 8x1 would not equal 1x8.
        state = torch.get_rng_state()
        with torch.no_grad():
            parts = [_logits(module, inputs, supervision.rows, part) for part in micro]
            stats = _global_stats(loss, torch.cat(parts), mine)
        torch.set_rng_state(state)
    for part in micro:
        logits = _logits(module, inputs, supervision.rows, part)
        if loss.needs_stats and len(micro) == 1:
            stats = _global_stats(loss, logits.detach(), mine)
        per_example = loss(logits, supervision.take(part), stats, train_frac=train_frac)
        ((supervision.weights[part] * per_example).sum() / config.batch_size).backward()


def _logits(
    module: nn.Module, inputs: Inputs, rows: Int[Tensor, " samples"], part: Int[Tensor, " micro"]
) -> Float[Tensor, "micro classes"]:
    # A process without a row computes one that nobody counts: sharded weights come together in every pass.
    values, mask = inputs.batch(rows[part if len(part) else [0]])
    return module(values, mask)[: len(part)]


def _global_stats(loss: WeakToStrongLoss, logits: Tensor, mine: WeakBatch) -> GlobalStats:
    """The loss's statistics over the global batch, of which `logits` and `mine` are this process's part."""
    group = None if mine.group is None else processes.gathered(mine.group)
    member = None if mine.member is None else processes.gathered(mine.member.transpose(0, 1)).transpose(0, 1)
    whole = WeakBatch(soft=processes.gathered(mine.soft), member=member, group=group)
    return loss.stats(processes.gathered(logits), whole)


@torch.no_grad()
def predict(
    module: nn.Module,
    inputs: Inputs,
    rows: Int[Tensor, " samples"],
    *,
    link: str = SOFTMAX,
    batch_tokens: int = 8192,
    on_rows: Callable[[int], None] = lambda n: None,
) -> Float[Tensor, "samples classes"]:
    """Log-probabilities of each row, in the order of `rows`; batches are made of rows of similar length.

    `link` is how logits become probabilities: that of the loss by which the module was trained.
    """
    module.eval()
    by_length = inputs.lengths[rows].argsort(stable=True)
    lengths = inputs.lengths[rows[by_length]].tolist()
    out: Tensor | None = None
    start = 0
    while start < len(rows):
        stop = start + 1
        # Rows come shortest first, so the longest of a batch is its last.
        while stop < len(rows) and (stop + 1 - start) * lengths[stop] <= batch_tokens:
            stop += 1
        index = by_length[start:stop]
        values, mask = inputs.batch(rows[index])
        log_probs = LINKS[link].log_probs(module(values, mask).float())
        if out is None:
            out = torch.empty(len(rows), log_probs.shape[-1])
        out[index] = log_probs
        on_rows(len(index))
        start = stop
    assert out is not None, "predict needs at least one row"
    return out
