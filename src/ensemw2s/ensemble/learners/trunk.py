"""The pipeline's learner: an adapter trained on the cached activations of a frozen model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from ensemw2s.config import TrainConfig
from ensemw2s.core import sampling
from ensemw2s.core.losses import SOFTMAX, CrossEntropy, WeakBatch, WeakToStrongLoss
from ensemw2s.core.seeds import stream
from ensemw2s.models.adapting.adapters import SCALE_ROWS, Adapter, fit_scale, head_of, owned_state
from ensemw2s.records import Inputs, View
from ensemw2s.train.loop import predict, train
from ensemw2s.train.samples import Supervision, Validation
from ensemw2s.training_end import TrainingEnd


@dataclass(frozen=True)
class TrunkFitted:
    """A trained adapter; rows are indices into its inputs."""

    module: Adapter
    inputs: Inputs
    link: str = SOFTMAX
    """How its logits become log-probabilities: that of the loss by which it was trained."""
    end: TrainingEnd | None = None
    """How its training ended."""

    def log_probs(self, X: Int[Tensor, " rows"]) -> Float[Tensor, "rows classes"]:
        return predict(self.module, self.inputs, X, link=self.link)

    def state(self) -> dict[str, Tensor]:
        return owned_state(self.module)


@dataclass(frozen=True)
class TrunkLearner:
    """Trains an adapter; rows are indices into the inputs."""

    inputs: Inputs
    build: Callable[[Generator], Adapter]
    """Returns an untrained adapter; its initial weights come from the generator."""
    training: TrainConfig
    at_depth: Mapping[int, Inputs] = field(default_factory=dict[int, Inputs])
    """Inputs at other depths, by number of layers; read by members that use fewer layers."""
    in_context: Callable[[int], Inputs] | None = None
    """Inputs behind a context, by its number; read by members with a context of their own."""
    feature_share: float | int = 1.0
    """Share of the pooled feature's dimensions that is read."""
    feature_seed: int = 0
    """Of the draw of these dimensions."""
    validation: Validation | None = None
    """Chooses the penalty of `solver: lbfgs`, or the end of a training with `patience`."""
    scale_rows: Int[Tensor, " rows"] | None = None
    """Rows that the head's feature scale is measured on; None: those that it is trained on."""
    scaled_by: Inputs | None = None
    """Features that the scale is measured on where those that are learned are differences of them."""

    def adapted(self, X: Int[Tensor, " rows"], view: View, seed: int) -> "TrunkLearner":
        inputs = self.inputs if view.depth is None else self.at_depth[view.depth]
        if view.context is not None:
            assert self.in_context is not None, "refused with the settings where there are no contexts"
            inputs = self.in_context(view.context)
        return replace(self, inputs=inputs, feature_share=view.feature_share, feature_seed=seed, scale_rows=X)

    def fit(
        self,
        X: Int[Tensor, " rows"],
        target: Float[Tensor, "rows classes"],
        sample_weight: Float[Tensor, " rows"],
        *,
        seed: int,
    ) -> TrunkFitted:
        supervision = Supervision(torch.arange(len(X)), WeakBatch(soft=target), sample_weight)
        return self.fit_supervision(X, supervision, CrossEntropy(), seed=seed)

    def fit_supervision(
        self, X: Int[Tensor, " rows"], supervision: Supervision, loss: WeakToStrongLoss, *, seed: int
    ) -> TrunkFitted:
        """As `StudentLearner.fit_supervision`."""
        module = self.build(stream(seed, "init"))
        supervision = replace(supervision, rows=X[supervision.rows])
        rows = supervision.rows if self.scale_rows is None else self.scale_rows
        if self.scaled_by is None:
            fit_scale(module, self.inputs, rows[:SCALE_ROWS])
        else:
            fit_scale(module, self.scaled_by, torch.arange(len(self.scaled_by.lengths))[:SCALE_ROWS])
            head_of(module).keeps_scale = True
        if self.feature_share < 1:
            head = head_of(module)
            head.restrict(sampling.subspace(len(head.scale), self.feature_share, stream(self.feature_seed, "features")))
        end = train(module, self.inputs, supervision, loss, self.training, seed=seed, validation=self.validation)
        return TrunkFitted(module, self.inputs, loss.link, end)

    def training_tokens(self, X: Int[Tensor, " rows"], end: TrainingEnd | None) -> int:
        """Tokens that a training on these rows read, as if there were no cache."""
        return self.training.readings_of(end) * int(self.inputs.lengths[X].sum())
