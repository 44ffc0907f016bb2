"""Trials of a model whose adapter classifies."""

from functools import cached_property

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import one_hot

from ensemw2s.config import TrainConfig
from ensemw2s.core.losses import CrossEntropy, WeakBatch
from ensemw2s.core.seeds import stream
from ensemw2s.ensemble.contexts import REASONS
from ensemw2s.forms.classification.prepare import ClassPrepared
from ensemw2s.forms.prepared import SeedContext
from ensemw2s.models.adapting.adapters import SCALE_ROWS, Adapter, fit_scale
from ensemw2s.models.inputs import EmbeddedInputs, IdInputs, PooledInputs, TokenInputs
from ensemw2s.records import Inputs
from ensemw2s.services.planning.trials import N_ASKED, N_ROWS, RoleTrials, Trial
from ensemw2s.services.planning.units import RoleName, training_amount
from ensemw2s.train.loop import predict, train
from ensemw2s.train.samples import Supervision


class ClassTrials(RoleTrials):
    """Of a model whose answers are classes."""

    def __init__(self, prepared: ClassPrepared, seed: SeedContext, name: RoleName):
        super().__init__(prepared, seed, name)
        self.prepared, self.role = prepared, prepared.roles[name]

    def read(self) -> Trial:
        role, rows = self.role, self._rows[:N_ROWS]
        source = role.pooled if isinstance(role.inputs, IdInputs | EmbeddedInputs) else role.inputs
        return Trial(lambda: source.batch(rows), lambda: int(source.lengths[rows].sum()))

    def train(self) -> Trial:
        return self._trained(self.training_by("train"))

    def fit(self) -> Trial:
        return self._trained(self.training_by("fit"))

    def score(self) -> Trial:
        module, inputs = self._module(self.trainings[0]), self._inputs
        places = torch.arange(min(N_ROWS, len(self._rows)))
        return Trial(lambda: predict(module, inputs, places), lambda: int(inputs.lengths[places].sum()))

    def write(self) -> Trial:
        """What is written before questions."""
        writer = next(contexts.writer for contexts in self.prepared.contexts.values())
        assert writer is not None, "counted where there is one"
        prompts = [self.prepared.split.examples[row].prompt for row in self._rows[:N_ASKED].tolist()]
        n_written = [0]

        def write() -> None:
            n_written[0] = sum(len(each.log_probs) for each in writer.compose(prompts, REASONS))

        return Trial(write, lambda: max(n_written[0], 1))

    def ask(self) -> Trial:
        raise NotImplementedError("an untrained model that answers with classes reads, and writes nothing")

    def judge(self) -> Trial:
        raise NotImplementedError("nobody judges answers that are classes")

    @cached_property
    def _rows(self) -> Int[Tensor, " rows"]:
        n_learned = max(self._n_learned(training) for training in self.trainings)
        return self.draw.easy_train[: max(n_learned, N_ROWS)]

    def _n_learned(self, training: TrainConfig) -> int:
        """Examples of a training; a head's steps are quick, and paid by the step."""
        n_batches = 8 if self.role.config.adapter == "head" else 2
        return min(len(self.draw.easy_train), n_batches * training.batch_size)

    @cached_property
    def _inputs(self) -> Inputs:
        return held(self.role.inputs, self._rows)

    def _module(self, training: TrainConfig) -> Adapter:
        module = self.role.builder(training, self.prepared.n_classes)(stream(0, "plan"))
        fit_scale(module, self._inputs, torch.arange(len(self._rows))[:SCALE_ROWS])
        return module

    def _trained(self, training: TrainConfig) -> Trial:
        module, inputs, n = self._module(training), self._inputs, self._n_learned(training)
        labels = self.prepared.split.easy_labels[self._rows[:n]]
        soft = one_hot(labels, self.prepared.n_classes).float()
        supervision = Supervision(torch.arange(n), WeakBatch(soft=soft), torch.ones(n))
        tokens = float(inputs.lengths[:n].sum())
        return Trial(
            lambda: train(module, inputs, supervision, CrossEntropy(), training, seed=0),
            lambda: training_amount(self.role.config.adapter, training, n, tokens),
        )


def held(inputs: Inputs, rows: Int[Tensor, " rows"]) -> Inputs:
    """These rows alone, with their activations in memory, as a training finds them."""
    if isinstance(inputs, IdInputs):
        return IdInputs(tuple(inputs.token_ids[row] for row in rows.tolist()), inputs.pad_id)
    values, mask = inputs.batch(rows)
    if values.shape[1] == 1:
        return PooledInputs((values[:, 0],), inputs.lengths[rows])
    lengths = mask.sum(1)
    offsets = torch.cat([torch.zeros(1, dtype=lengths.dtype), lengths.cumsum(0)])
    return TokenInputs(((values[mask.bool()], offsets),), lengths)
