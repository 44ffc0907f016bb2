"""The training loop. Experts, students and ceilings differ only in rows, targets, weights and loss."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ensemw2s.config import TrainConfig
from ensemw2s.core import metrics
from ensemw2s.core.batches import length_batches
from ensemw2s.core.losses import LINKS, SOFTMAX, GlobalStats, WeakBatch, WeakToStrongLoss
from ensemw2s.core.pacing import Pace
from ensemw2s.core.seeds import stream, stream_seed
from ensemw2s.distributed import launch
from ensemw2s.meter import working
from ensemw2s.models.adapting.mixture import balance_loss
from ensemw2s.models.adapting.upper import layers_recomputed, sharded
from ensemw2s.models.packing import sequences_packed
from ensemw2s.records import Inputs
from ensemw2s.train.checkpoint import Checkpointer, restore, snapshot
from ensemw2s.train.micro import Accumulate, MicroBatches, Tally
from ensemw2s.train.optim import learning_rate_at, make_optimizer, n_scheduled, n_steps
from ensemw2s.train.optimum import fit_optimum
from ensemw2s.train.progress import Progress
from ensemw2s.train.random_state import random_state, set_random_state
from ensemw2s.train.samples import Supervision, Validation, balanced, held_out
from ensemw2s.training_end import TrainingEnd


def train(
    module: nn.Module,
    inputs: Inputs,
    supervision: Supervision,
    loss: WeakToStrongLoss,
    config: TrainConfig,
    *,
    seed: int,
    validation: Validation | None = None,
    checkpointer: Checkpointer | None = None,
) -> TrainingEnd:
    """Train `module` in place. The result does not depend on interruptions or on the size of micro-batches.

    The loss of a step is sum_i w_i loss_i / batch_size over its global batch; the gradients of its micro-batches add
    up to that of the whole batch.

    Args:
        module: called as module(values, mask) -> logits [batch, classes].
        seed: seed of the order of the samples and of dropout.
        config: resolved.
        validation: chooses the penalty of `solver: lbfgs`, or the end of a training with `patience`; None holds a fifth
            of the samples out, or for a penalty each fifth in turn.
        checkpointer: keeps snapshots, from which an interrupted training resumes; None keeps none.
    """

    if config.class_weights == "balanced":
        supervision = replace(supervision, weights=balanced(supervision.targets.soft, supervision.weights))

    if config.is_fitted:
        return fit_optimum(module, inputs, supervision, loss, config, seed=seed, validation=validation)

    if config.patience is not None and validation is None:
        supervision, validation = held_out(supervision, seed)

    def accumulate(micro: Sequence[Tensor], train_frac: float) -> Tally:
        return _accumulate(module, inputs, supervision, loss, config, micro, train_frac=train_frac)

    def judge() -> float:
        assert validation is not None
        return metrics.log_loss(predict(module, inputs, validation.rows, link=loss.link), validation.labels)

    return optimise(
        module,
        inputs.lengths[supervision.rows],
        accumulate,
        config,
        seed=seed,
        judge=judge,
        pace=supervision.pace,
        checkpointer=checkpointer,
    )


def optimise(
    module: nn.Module,
    lengths: Int[Tensor, " samples"],
    accumulate: Accumulate,
    config: TrainConfig,
    *,
    seed: int,
    judge: Callable[[], float],
    pace: Pace | None = None,
    checkpointer: Checkpointer | None = None,
) -> TrainingEnd:
    """Run the optimiser steps of a training over samples of these lengths in tokens.

    With `config.shuffle` samples are shuffled in every epoch, within the curriculum where there is one. A training goes
    on from the checkpointer's snapshot if it has one, and leaves the module in evaluation mode. In a launch of several
    processes each takes its part of every batch, and all make the same step.

    Args:
        judge: loss of the module on validation data, by which `config.patience` ends the training.

    Raises:
        ModelError: with `micro_batch_size: auto`, not even one sample fits into memory.
    """
    n_samples = len(lengths)
    total = n_steps(n_samples, config)
    per_epoch = total // config.epochs
    scheduled = n_scheduled(total, config)
    if launch.is_sharded():
        sharded(module)
    optimizer = make_optimizer(module, config)
    module.train()
    recomputed = layers_recomputed(module) if config.gradient_checkpointing else contextlib.nullcontext()
    packed = sequences_packed(module) if config.packing else contextlib.nullcontext()
    told = working("training", "steps", total)
    with torch.random.fork_rng(devices=[]), recomputed, packed, told as advance:
        # Dropout masks differ between processes, as they do between the rows of one process.
        torch.manual_seed(stream_seed(seed, "dropout", *([launch.rank()] if launch.rank() else [])))
        micro = MicroBatches(module, config)
        micro.try_out(lengths, config.batch_size, accumulate)
        done, progress = 0, Progress(module, config, total, judge)
        if checkpointer is not None and (saved := checkpointer.load()) is not None:
            done = restore(module, optimizer, saved)
            progress.resume(done, saved)
            advance(done)
        for step in range(done, total):
            epoch, position = divmod(step, per_epoch)
            if position == 0 or step == done:
                draw = stream(seed, "order", epoch)
                if pace is not None:
                    order = pace.epoch_order(epoch, -(-scheduled // per_epoch), config.batch_size, draw)
                elif config.shuffle:
                    order = torch.randperm(n_samples, generator=draw)
                else:
                    order = torch.arange(n_samples)
            index = order[position * config.batch_size : (position + 1) * config.batch_size]
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(step, scheduled, config)
            tally = micro.accumulate(index, min(step / scheduled, 1.0), accumulate)
            launch.sum_gradients(module)
            if config.max_grad_norm is not None:
                nn.utils.clip_grad_norm_(module.parameters(), config.max_grad_norm)
            optimizer.step()
            advance(1)
            if progress.is_over(tally):
                break
            if checkpointer is not None and (step + 1) % config.checkpoint_steps == 0:
                checkpointer.save(snapshot(module, optimizer, step + 1) | progress.state())
    progress.keep_best()
    launch.gather_back(module)
    module.eval()
    return progress.end()


def _accumulate(
    module: nn.Module,
    inputs: Inputs,
    supervision: Supervision,
    loss: WeakToStrongLoss,
    config: TrainConfig,
    micro: Sequence[Int[Tensor, " _"]],
    *,
    train_frac: float,
) -> Tally:
    """Add the gradient of this process's part of a global batch to the module's parameters."""
    mine = supervision.take(torch.cat(list(micro)))
    stats = GlobalStats()
    if loss.needs_stats and len(micro) > 1:
        # The statistics need the logits of the global batch before the loss of any micro-batch. This pass must have
        # the dropout masks of the training pass, or 8x1 would not equal 1x8.
        state = random_state()
        with torch.no_grad():
            parts = [_logits(module, inputs, supervision.rows, part) for part in micro]
            stats = _global_stats(loss, torch.cat(parts), mine)
        set_random_state(state)
    tally = torch.zeros(3)
    for part in micro:
        logits = _logits(module, inputs, supervision.rows, part)
        if loss.needs_stats and len(micro) == 1:
            stats = _global_stats(loss, logits.detach(), mine)
        targets = supervision.take(part)
        total = (supervision.weights[part] * loss(logits, targets, stats, train_frac=train_frac)).sum()
        balance = balance_loss(module, inputs.lengths[supervision.rows[part]])
        ((total + balance) / config.batch_size).backward()
        right = logits.argmax(-1) == targets.soft.argmax(-1)
        tally = tally + torch.stack([total.detach(), right.sum(), torch.full_like(total, len(part))])
    return tally


def _logits(
    module: nn.Module, inputs: Inputs, rows: Int[Tensor, " samples"], part: Int[Tensor, " micro"]
) -> Float[Tensor, "micro classes"]:
    """On the CPU, where the targets are: losses of classes are small work."""
    # A process without rows computes one that is dropped, because sharded weights are gathered in every pass.
    values, mask = inputs.batch(rows[part if len(part) else [0]])
    return module(values, mask)[: len(part)].cpu()


def _global_stats(loss: WeakToStrongLoss, logits: Tensor, mine: WeakBatch) -> GlobalStats:
    """The loss's statistics over the global batch, of which `logits` and `mine` are this process's part."""
    group = None if mine.group is None else launch.gathered(mine.group)
    member = None if mine.member is None else launch.gathered(mine.member.transpose(0, 1)).transpose(0, 1)
    whole = WeakBatch(soft=launch.gathered(mine.soft), member=member, group=group)
    return loss.stats(launch.gathered(logits), whole)


@torch.no_grad()
def predict(
    module: nn.Module,
    inputs: Inputs,
    rows: Int[Tensor, " samples"],
    *,
    link: str = SOFTMAX,
    batch_tokens: int = 8192,
) -> Float[Tensor, "samples classes"]:
    """Log-probabilities of each row, in the order of `rows`, from batches of rows of similar length.

    `link` names the function from logits to log-probabilities, which is that of the training loss.
    """
    module.eval()
    out = torch.empty(0)
    with working("evaluating", "examples", len(rows)) as advance:
        for batch in length_batches(inputs.lengths[rows].tolist(), batch_tokens):
            places = torch.tensor(batch)
            values, mask = inputs.batch(rows[places])
            log_probs = LINKS[link].log_probs(module(values, mask).float())
            if not out.numel():
                out = torch.empty(len(rows), log_probs.shape[-1])
            out[places] = log_probs.cpu()
            advance(len(batch))
    return out
