"""How a training goes: its loss epoch by epoch, when it may end, and which weights are kept."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ensemw2s.config import TrainConfig
from ensemw2s.distributed import launch
from ensemw2s.train.checkpoint import owned_parameters
from ensemw2s.train.micro import Tally
from ensemw2s.train.optim import learning_rate_at, n_scheduled
from ensemw2s.training_end import TrainingEnd

STILL, TINY = 0.01, 1e-3
"""A training loss stands still where an epoch at the full learning rate changes it by no more than this share of it, or
than so many nats."""


class Progress:
    """Follows one training, step by step.

    Args:
        total: optimiser steps at most.
        judge: loss of the module on validation data, for `config.patience`; in a launch all processes call it together.
    """

    def __init__(self, module: nn.Module, config: TrainConfig, total: int, judge: Callable[[], float] | None):
        self._module, self._config, self._total = module, config, total
        self._judge = judge if config.patience is not None else None
        self._per_epoch = total // config.epochs
        self._step, self._tally = 0, _nothing()
        self._finished: list[Tally] = []
        self._best_loss, self._best_epoch = math.inf, 0
        self._best: dict[str, Tensor] = {}

    @property
    def _epochs(self) -> int:
        return self._step // self._per_epoch

    @property
    def _is_patient_no_more(self) -> bool:
        patience, floor = self._config.patience, self._config.min_steps
        return patience is not None and self._epochs - self._best_epoch >= patience and self._step >= floor

    def is_over(self, tally: Tally) -> bool:
        """Note a step of the optimiser; True if it was the last.

        Args:
            tally: what this process's part of the batch gave.
        """
        self._step += 1
        self._tally = self._tally.to(tally.device) + tally
        if self._step % self._per_epoch:
            return False
        self._finished.append(_whole(self._tally))
        self._tally = _nothing()
        if self._judge is not None:
            loss = launch.agreed(self._judge())
            launch.gather_back(self._module)
            self._module.train()
            if loss < self._best_loss:
                self._best_loss, self._best_epoch = loss, self._epochs
                self._best = {name: p.detach().clone() for name, p in owned_parameters(self._module)}
        return self._is_patient_no_more or self._step == self._total

    def keep_best(self) -> None:
        """Put the weights of the best epoch back, where there was one."""
        with torch.no_grad():
            for name, parameter in owned_parameters(self._module):
                if name in self._best:
                    parameter.copy_(self._best[name])

    def state(self) -> dict[str, Tensor]:
        """For a snapshot, beside that of module and optimiser. In a launch all processes call it together."""
        state = {"progress/epochs": torch.stack([*self._finished, _whole(self._tally)])}
        if self._judge is not None:
            state["progress/best"] = torch.tensor([self._best_loss, self._best_epoch], dtype=torch.float64)
            state |= {f"best/{name}": launch.whole(tensor) for name, tensor in self._best.items()}
        return state

    def resume(self, step: int, state: dict[str, Tensor]) -> None:
        """Go on from a snapshot that was taken after so many steps."""
        self._step = step
        if "progress/epochs" in state:  # absent from snapshots of earlier versions
            *self._finished, tally = state["progress/epochs"].clone().unbind()
            self._tally = tally if launch.rank() == 0 else _nothing()
        if "progress/best" in state:
            loss, epoch = state["progress/best"].tolist()
            self._best_loss, self._best_epoch = loss, int(epoch)
            self._best = {
                name: launch.like(state[f"best/{name}"].to(p.device), p).clone()
                for name, p in owned_parameters(self._module)
                if f"best/{name}" in state
            }

    def end(self) -> TrainingEnd:
        """How the training ended, once it is over."""
        means = [(tally / tally[2]).tolist() for tally in self._finished]
        if self._config.patience is not None:
            converged = self._is_patient_no_more and self._best_epoch > 0
        else:
            back = self._full_epoch_back()
            converged = back is not None and back < len(means) and stands_still(means[-1 - back][0], means[-1][0])
        return TrainingEnd(
            ended="stopped_early" if self._is_patient_no_more else "all_epochs",
            converged=converged,
            steps=self._step,
            epochs=self._epochs,
            kept_epoch=self._best_epoch or None,
            training_loss=_number(means[-1][0]),
            training_accuracy=_number(means[-1][1]),
            validation_loss=_number(self._best_loss),
            validations=self._epochs if self._judge is not None else 0,
        )

    def _full_epoch_back(self) -> int | None:
        """How many epochs before the end the optimiser last had an epoch at the full learning rate ahead of it.

        A schedule that lowers the rate brings every loss to a stand. But an optimiser moves in proportion to its rate,
        so the last epochs are taken together that make up one at the full rate. None where all of them do not.
        """
        scheduled, ahead = n_scheduled(self._total, self._config), 0.0
        for back in range(1, self._epochs):
            first = (self._epochs - back) * self._per_epoch
            rates = [learning_rate_at(step, scheduled, self._config) for step in range(first, first + self._per_epoch)]
            ahead += sum(rates) / self._per_epoch / self._config.learning_rate
            if ahead > 1.0 - 1e-9:
                return back
        return None


def stands_still(before: float, last: float) -> bool:
    """Whether a mean training loss hardly changed; NaN never stands still."""
    return abs(last - before) <= max(STILL * abs(last), TINY)


def _nothing() -> Tally:
    return torch.zeros(3)


def _whole(tally: Tally) -> Float[Tensor, "3"]:
    """The sum over all processes, on the CPU."""
    return launch.gathered(tally.cpu()[None]).sum(0)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
