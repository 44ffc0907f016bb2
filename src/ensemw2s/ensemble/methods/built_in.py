"""The package's own ensemble methods.

single        one expert on all rows
independent   T experts on all rows, from T seeds
bagging       T experts, each on a bootstrap draw (Breiman 1996)
boosting      T experts, each on D_t, which grows where the expert before it was wrong (EnsemW2S, 2410.04571)
subspace      T experts, each on a random share of the pooled feature's dimensions (random subspaces, Ho 1998)
layers        T experts, each on the pooled feature after another number of layers
contexts      T experts, each on the pooled feature of the question behind a text of its own
prompted      T times the pretrained model itself, each behind a text of its own; nothing is trained
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from ensemw2s.config.ensemble import dealt_depths
from ensemw2s.core import sampling
from ensemw2s.core.boosting import BoostRound, boost_round
from ensemw2s.core.seeds import stream, stream_seed
from ensemw2s.ensemble.methods.base import Draw, EqualVotes, Samples, Takes
from ensemw2s.errors import ConfigError
from ensemw2s.names import INDEPENDENT
from ensemw2s.records import View


@dataclass(frozen=True)
class Single(EqualVotes):
    """The plain baseline: of a pool, the member that is best on validation data."""

    label: ClassVar[str] = "single weak expert"
    takes: ClassVar[Takes] = "most_accurate"

    def n_members(self, n_rounds: int) -> int:
        return 1


@dataclass(frozen=True)
class Independent(EqualVotes):
    label: ClassVar[str] = "independent ensemble"


@dataclass(frozen=True)
class Bagging(EqualVotes):
    label: ClassVar[str] = "bagged ensemble"
    shares_first: ClassVar[bool] = False

    def draw(self, samples: Samples, round_index: int, seed: int) -> Draw:
        return samples.uniform(samples.bootstrap(seed))


@dataclass(frozen=True)
class Boosting(EqualVotes):
    """EnsemW2S, 2410.04571: `core.boosting.boost_round`, with the sample weights on the loss or as a draw."""

    label: ClassVar[str] = "boosted ensemble"
    needs_errors: ClassVar[bool] = True
    takes: ClassVar[Takes] = "least_error"

    shrinkage: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_expert_weight: Annotated[float, Field(gt=0)] = 4.0
    """Cap of alpha, in nats."""
    reweight: Literal["loss", "resample"] = "loss"
    """`loss` weighs each sample's loss; `resample` draws samples by their weight."""
    bootstrap: bool = False
    """Generation: members after the first learn from a bootstrap draw of the answers, too."""

    def draw(self, samples: Samples, round_index: int, seed: int) -> Draw:
        if round_index == 0:
            return samples.uniform(samples.all_examples)
        share = samples.share
        rows = samples.bootstrap(seed) if self.bootstrap else samples.all_examples
        if self.reweight != "resample":
            return Draw(rows, (share * len(share)).float())
        drawn = sampling.resample(share, stream(seed, "draw"))
        if samples.are_examples:
            return samples.uniform(drawn)
        return Draw(rows, torch.bincount(drawn, minlength=len(share)).float())

    def update(
        self, is_wrong: Bool[Tensor, " samples"], sample_weights: Float[Tensor, " samples"], prior_error: float
    ) -> BoostRound:
        return boost_round(
            is_wrong,
            sample_weights,
            prior_error=prior_error,
            shrinkage=self.shrinkage,
            max_expert_weight=self.max_expert_weight,
        )


@dataclass(frozen=True)
class Subspace(EqualVotes):
    """As independent members, each on its own random share of the dimensions: the view is all that differs."""

    label: ClassVar[str] = "random-subspace ensemble"
    needs_pooled_head: ClassVar[bool] = True
    stream: ClassVar[str | None] = INDEPENDENT

    feature_share: Annotated[float | int, Field(gt=0, le=1)] = 0.5

    def view(self, n_layers: int, round_index: int, seed: int) -> View:
        return View(feature_share=self.feature_share)


@dataclass(frozen=True)
class Layers(EqualVotes):
    """As independent members, each at its own depth."""

    label: ClassVar[str] = "layer-sampled ensemble"
    needs_pooled_head: ClassVar[bool] = True
    stream: ClassVar[str | None] = INDEPENDENT

    layer_range: tuple[int, int] | None = None
    """First and last depth, in layers; None is the upper half of the model's."""

    def view(self, n_layers: int, round_index: int, seed: int) -> View:
        # Dealt, not drawn: draws with replacement would give two members one depth while another depth has none. In
        # random order, because the first t members of every t are to be as unlike as they can.
        if not (depths := dealt_depths(self.layer_range, n_layers)):
            raise ConfigError(
                "method: members of `layers` read a model at different depths, and the weak model has none"
            )
        depth = depths[sampling.dealt(len(depths), round_index, stream_seed(seed, "layers"))]
        return View(depth=None if depth == n_layers else depth)


@dataclass(frozen=True)
class Contexts(EqualVotes):
    """As independent members, each behind a context of its own."""

    label: ClassVar[str] = "ensemble of contexts"
    needs_pooled_head: ClassVar[bool] = True
    reads_contexts: ClassVar[bool] = True
    stream: ClassVar[str | None] = INDEPENDENT

    def view(self, n_layers: int, round_index: int, seed: int) -> View:
        return View(context=round_index)


@dataclass(frozen=True)
class Prompted(Contexts):
    """The contexts of `contexts`, before a model that nothing is trained of."""

    label: ClassVar[str] = "prompted ensemble"
    learns: ClassVar[bool] = False
    stream: ClassVar[str | None] = None
    shares_first: ClassVar[bool] = False
