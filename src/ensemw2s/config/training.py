"""Settings of a training."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ensemw2s.config.base import Count, Fraction, Frozen
from ensemw2s.config.model import ModelConfig
from ensemw2s.training_end import TrainingEnd

SEARCH_PASSES, FIT_PASSES = 300, 30
"""Passes over the data that a fit by `lbfgs` is counted as: with a search for the penalty, and without."""


class TrainConfig(Frozen):
    solver: Literal["auto", "adamw", "lbfgs"] = "auto"
    """`lbfgs` finds the optimum of a linear head (`adapter: head`, no hidden layer, no dropout) under a convex loss
    (xent, smoothing) of all samples at once (no curriculum); of the settings below, only `l2` and `class_weights` have
    a part in it. `adamw` takes optimiser steps. `auto` is `lbfgs` wherever there is such an optimum, else `adamw`: one
    run may fit one student and step another."""
    l2: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    """`lbfgs`: weight of the penalty on the squared weights, beside the mean loss; `auto` is chosen on easy validation
    data."""
    epochs: Count = 100
    """`adamw`: passes over the data; with `patience`, the most."""
    patience: Count | None = 5
    """`adamw`: end once so many epochs in a row were no better by the log loss on easy validation data than the best
    before them, and keep the weights of that best epoch; null trains exactly `epochs`. Needs `schedule: constant`: a
    rate that falls towards the last of `epochs` would be judged by an end that is not reached."""
    min_steps: Count = 100
    """`patience`: no training ends before so many optimiser steps. Warm-up, a curriculum and what a loss changes over
    a training take these steps, at most the whole training, so that `epochs` is a bound and nothing else."""
    batch_size: Count = 64
    """Examples per optimiser step."""
    micro_batch_size: Count | Literal["auto"] | None = None
    """Examples per forward pass; None is the whole batch, `auto` halves that until it fits into memory. The gradients
    of a batch are added up, so it changes memory, not results."""
    gradient_checkpointing: bool = False
    """Keep only what enters each layer and compute the rest again for the gradient: a third more work, much less
    memory. `head` has no layers."""
    packing: bool = False
    """Put short sequences of a batch side by side instead of padding each to the longest: same gradients, less work
    where lengths differ much. Causal models; `head` reads no sequences."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """How much AdamW's mean of squared gradients keeps of itself at a step."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup_frac: Fraction = 0.1
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Of the learning rate after its warm-up."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """On the head's input (`head`, `top`, `full`) or in the low-rank branch (`lora`)."""
    init_std: Annotated[float, Field(ge=0)] = 0.02
    """Standard deviation of the head's initial weights: a source of diversity among experts."""
    max_grad_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """Gradients are scaled down to this length; null leaves them as they are."""
    shuffle: bool = True
    """Draw the order of the examples anew in every epoch; false keeps that of the data. A curriculum has its own."""
    class_weights: Literal["none", "balanced"] = "none"
    """`balanced`: every class counts the same in the loss, however many examples have it. Tasks answered by a class."""
    checkpoint_steps: Count = 25
    """`top`, `lora`, `full`: optimiser steps between a student's checkpoints. One holds what is trained and its two
    moments, with `patience` the best weights, too: with `full` three or four times those weights in float32."""

    @model_validator(mode="after")
    def _can_stop_early(self) -> "TrainConfig":
        if self.solver != "lbfgs" and self.patience is not None and self.schedule != "constant":
            raise ValueError(
                f"schedule: {self.schedule} lowers the learning rate towards the last of the epochs, before which "
                f"patience ({self.patience}) ends a training; set patience: null, or schedule: constant"
            )
        return self

    def resolved(self, model: ModelConfig, *, has_optimum: bool) -> "TrainConfig":
        """This training as it is made: what `auto` stands for decided, and no patience where no steps are taken.

        Args:
            model: what is trained.
            has_optimum: whether the loss is convex in the logits, and all samples are learned at once.
        """
        is_fitted = model.is_linear and has_optimum and not self.dropout
        solver = ("lbfgs" if is_fitted else "adamw") if self.solver == "auto" else self.solver
        no_patience = {"patience": None} if solver == "lbfgs" else {}
        return self.model_copy(update={"solver": solver, **no_patience})

    @property
    def is_fitted(self) -> bool:
        """Whether the optimum is searched for, and no steps are taken. Only a resolved training knows."""
        assert self.solver != "auto", "resolve the training first: TrainConfig.resolved"
        return self.solver == "lbfgs"

    @property
    def readings(self) -> int:
        """How often a training reads each example's text at most; a fit reads features once."""
        return 1 if self.is_fitted else self.epochs

    @property
    def passes(self) -> int:
        """How often a training uses each example at most; of a fit a round number, near what was measured."""
        if not self.is_fitted:
            return self.epochs
        return SEARCH_PASSES if self.l2 == "auto" else FIT_PASSES

    def passes_of(self, end: TrainingEnd | None) -> int:
        """How often a training that ended so used each example, for its cost; None: before ends were kept."""
        return self.passes if end is None or end.epochs is None else end.epochs

    def readings_of(self, end: TrainingEnd | None) -> int:
        """How often it read each example's text."""
        return self.readings if end is None or end.epochs is None else end.epochs

    @property
    def deciding(self) -> dict[str, Any]:
        """What decides the result of a training: for keys of the store."""
        if self.is_fitted:
            return self.model_dump(include={"solver", "l2", "class_weights"})
        without = {"solver", "l2", "micro_batch_size", "checkpoint_steps", "gradient_checkpointing", "packing"}
        # Younger settings count only where they are used, so that what older stores hold stays good.
        if self.patience is None:
            without |= {"patience", "min_steps"}
        if self.adam_beta2 == type(self).model_fields["adam_beta2"].default:
            without.add("adam_beta2")
        return self.model_dump(exclude=without)
