"""The optimiser: AdamW, with warm-up and decay of the learning rate as a function of the step."""

import math

import torch
from torch import nn

from ensemw2s.config import TrainConfig


def n_steps(n_samples: int, config: TrainConfig) -> int:
    """Number of optimiser steps of a training over all its epochs."""
    return config.epochs * -(-n_samples // config.batch_size)


def n_scheduled(total: int, config: TrainConfig) -> int:
    """Number of steps over which all schedules of a training run: all, or where it may end early those that it takes
    at least."""
    return total if config.patience is None else min(total, config.min_steps)


def learning_rate_at(step: int, n_steps: int, config: TrainConfig) -> float:
    """Learning rate of step `step` (from 0) of `n_steps` scheduled ones: linear warm-up, then the schedule."""
    n_warmup = round(config.warmup_frac * n_steps)
    if step < n_warmup:
        return config.learning_rate * (step + 1) / n_warmup
    done = (step - n_warmup) / max(1, n_steps - n_warmup)
    factor = {"constant": 1.0, "linear": 1.0 - done, "cosine": 0.5 * (1.0 + math.cos(math.pi * done))}
    return config.learning_rate * factor[config.schedule]


def make_optimizer(module: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over the module's trainable parameters."""
    trainable = [p for p in module.parameters() if p.requires_grad]
    # One fused kernel per step: for heads of a thousand parameters the overhead of a step dominates training.
    betas = (0.9, config.adam_beta2)
    return torch.optim.AdamW(
        trainable, lr=config.learning_rate, betas=betas, weight_decay=config.weight_decay, fused=True
    )
