"""The optimiser's settings: AdamW with warm-up and decay, as a pure function of the step."""

import math

import torch
from torch import nn

from ensemw2s.config import TrainConfig


def learning_rate_at(step: int, n_steps: int, config: TrainConfig) -> float:
    """The rate for optimiser step `step` (0-based) of `n_steps`: linear warm-up, then the schedule down to 0."""
    n_warmup = round(config.warmup_frac * n_steps)
    if step < n_warmup:
        return config.learning_rate * (step + 1) / n_warmup
    done = (step - n_warmup) / max(1, n_steps - n_warmup)
    factor = {"constant": 1.0, "linear": 1.0 - done, "cosine": 0.5 * (1.0 + math.cos(math.pi * done))}
    return config.learning_rate * factor[config.schedule]


def make_optimizer(module: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over what the module trains."""
    owned = [p for p in module.parameters() if p.requires_grad]
    # One fused kernel per step: with heads of a thousand parameters the step's overhead is most of the training.
    return torch.optim.AdamW(owned, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
