"""How the members of an ensemble are made: the open table of ensemble methods.

A method is a frozen dataclass whose fields are its options. It says which rows and weights a member learns from
(`draw`), what of the trunk it reads (`view`), and what its errors mean for its vote and for the next round (`update`).

single        one expert on all rows
independent   T experts on all rows, from T seeds
bagging       T experts, each on a bootstrap draw (Breiman 1996)
boosting      T experts, each on D_t, which grows where the expert before it was wrong (EnsemW2S, 2410.04571)
subspace      T experts, each on a random share of the pooled feature's dimensions (random subspaces, Ho 1998)
layers        T experts, each on the pooled feature after another number of layers
"""

from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor

from ensemw2s.config import EnsembleConfig, ExperimentConfig, GenerationConfig
from ensemw2s.config.ensemble import dealt_depths
from ensemw2s.core import sampling
from ensemw2s.core.boosting import BoostRound, boost_round
from ensemw2s.core.seeds import stream, stream_seed
from ensemw2s.errors import ConfigError
from ensemw2s.records import WHOLE, View
from ensemw2s.tables import METHODS


@dataclass(frozen=True)
class Samples:
    """The training samples that a member may learn from."""

    weights: Float[Tensor, " samples"]
    """D_t of these samples, float64; it need not sum to 1."""
    n_examples: int
    are_examples: bool = True
    """False where boosting weighs the tokens of an answer, or answers as a whole (generation): a sample is then
    repeated by its weight, and not as a row."""

    @property
    def share(self) -> Float[Tensor, " samples"]:
        """D_t, normalised to sum 1."""
        return self.weights / self.weights.sum()

    @property
    def all_examples(self) -> Int[Tensor, " examples"]:
        return torch.arange(self.n_examples)

    def bootstrap(self, seed: int) -> Int[Tensor, " examples"]:
        """Examples drawn with replacement."""
        # Answers have a stream of their own, because their tokens may be drawn in the same round.
        return sampling.bootstrap(self.n_examples, stream(seed, "draw" if self.are_examples else "bootstrap"))

    def uniform(self, rows: Int[Tensor, " drawn"]) -> "Draw":
        """These examples, all samples counting alike."""
        return Draw(rows, torch.ones(len(self.weights)))


@dataclass(frozen=True)
class Draw:
    """What one member learns from."""

    rows: Int[Tensor, " drawn"]
    """Positions among the examples; one that is drawn twice is learned twice."""
    weights: Float[Tensor, " samples"]
    """How much each sample counts; mean 1."""


@runtime_checkable
class EnsembleMethod(Protocol):
    """What an ensemble method has; `EqualVotes` gives all of it but the label."""

    label: ClassVar[str]
    """What tables call the ensemble, such as "boosted ensemble"."""
    needs_errors: ClassVar[bool]
    """Whether `update` uses the members' errors: only then are held-out folds trained for them."""
    needs_pooled_head: ClassVar[bool]
    """Whether its views need one pooled feature per example, as `weak.adapter: head` has."""
    stream: ClassVar[str | None]
    """Purpose of its members' random streams; None is the method's own name. Members of equal stream, view and draw
    are one artifact."""
    shares_first: ClassVar[bool]
    """Whether its first member learns from all examples alike, and so is the same as every such method's."""

    def n_members(self, n_rounds: int) -> int:
        """Members of an ensemble of `n_rounds` rounds."""
        ...

    def draw(self, samples: Samples, round_index: int, seed: int) -> Draw:
        """What the member of this round learns from.

        Args:
            round_index: from 0.
            seed: of the member's own stream.
        """
        ...

    def view(self, n_layers: int, round_index: int, seed: int) -> View:
        """What the member of this round reads of a model of `n_layers` layers.

        Args:
            seed: of the run.
        """
        ...

    def update(
        self, is_wrong: Bool[Tensor, " samples"], sample_weights: Float[Tensor, " samples"], prior_error: float
    ) -> BoostRound:
        """The member's error, its weight in the vote, and the sample weights of the next round.

        Args:
            is_wrong: whether the member errs on each training sample.
            sample_weights: D_t, sums to 1.
            prior_error: error of a reference that knows nothing of the task.
        """
        ...


class EqualVotes:
    """A method whose members learn from all examples, read everything and have one vote each."""

    needs_errors: ClassVar[bool] = False
    needs_pooled_head: ClassVar[bool] = False
    stream: ClassVar[str | None] = None
    shares_first: ClassVar[bool] = True

    def n_members(self, n_rounds: int) -> int:
        return n_rounds

    def draw(self, samples: Samples, round_index: int, seed: int) -> Draw:
        return samples.uniform(samples.all_examples)

    def view(self, n_layers: int, round_index: int, seed: int) -> View:
        return WHOLE

    def update(
        self, is_wrong: Bool[Tensor, " samples"], sample_weights: Float[Tensor, " samples"], prior_error: float
    ) -> BoostRound:
        return BoostRound(float((sample_weights * is_wrong).sum()), 1.0, sample_weights, "continue")


@dataclass(frozen=True)
class Single(EqualVotes):
    label: ClassVar[str] = "single weak expert"

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
    stream: ClassVar[str | None] = "independent"

    feature_share: Annotated[float | int, Field(gt=0, le=1)] = 0.5

    def view(self, n_layers: int, round_index: int, seed: int) -> View:
        return View(feature_share=self.feature_share)


@dataclass(frozen=True)
class Layers(EqualVotes):
    """As independent members, each at its own depth."""

    label: ClassVar[str] = "layer-sampled ensemble"
    needs_pooled_head: ClassVar[bool] = True
    stream: ClassVar[str | None] = "independent"

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


def make_method(name: str, ensemble: EnsembleConfig, generation: GenerationConfig | None = None) -> EnsembleMethod:
    """The method of that name with its options.

    An option is the setting of the same name in `ensemble` or `generation`, or one of `ensemble.method_options`.

    Raises:
        ConfigError: there is no such method, it has no such option, or an option's value is not allowed.
    """
    if name not in METHODS:
        raise ConfigError(f"ensemble.methods: there is no {name!r}; choose among {', '.join(METHODS)}")
    kind = METHODS[name]
    if not (is_dataclass(kind) and isinstance(kind, EnsembleMethod)):
        raise ConfigError(
            f"ensemble.methods: {name} ({kind!r}) is not an ensemble method; it must be a dataclass with all that "
            "EnsembleMethod has, which EqualVotes gives but for its label"
        )
    known = [field.name for field in fields(kind)]
    settings = dict(ensemble) | (dict(generation) if generation is not None else {})
    options = ensemble.method_options.get(name, {})
    setting = f"ensemble.method_options.{name}"
    if unknown := sorted(set(options) - set(known)):
        raise ConfigError(f"{setting}: {name} has no {unknown[0]!r}; it has {', '.join(known) or 'none'}")
    given = {option: settings[option] for option in known if option in settings} | options
    try:
        method: EnsembleMethod = TypeAdapter[Any](kind).validate_python(given)
        return method
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in (setting, *first["loc"]))
        raise ConfigError(f"{place}: {first['msg']}, got {first['input']!r}") from None


def check_methods(config: ExperimentConfig) -> None:
    """Raises ConfigError where a method of the run cannot be made, or needs what the run's weak model has not."""
    for name in config.ensemble.methods:
        method = make_method(name, config.ensemble, config.generation)
        if method.needs_pooled_head and (config.is_generation or config.weak.adapter != "head"):
            form = f"{config.task.name} is answered in words" if config.is_generation else f"got {config.weak.adapter}"
            mend = "take it out" if config.is_generation else "set that, or take it out"
            raise ConfigError(
                f"ensemble.methods: members of {name} read one pooled feature, which only classes with "
                f"weak.adapter: head have ({form}); {mend}"
            )


def expert_stream(method: str, seed: int, position: int) -> int:
    """The seed of a member: two of equal seed, view and draw are one."""
    kind = METHODS[method]
    purpose = "first" if kind.shares_first and position == 0 else kind.stream or method
    return stream_seed(seed, "expert", purpose, position)


def max_members(config: EnsembleConfig) -> int:
    """Upper bound on the number of experts in all ensembles of one seed."""
    return sum(make_method(name, config).n_members(config.n_rounds) for name in config.methods)


def members_of(config: EnsembleConfig, n_layers: int, seed: int) -> list[tuple[int, View]]:
    """Stream and view of every member that one seed's ensembles may have, method by method."""
    found: list[tuple[int, View]] = []
    for name in config.methods:
        method = make_method(name, config)
        found += [
            (expert_stream(name, seed, position), method.view(n_layers, position, seed))
            for position in range(method.n_members(config.n_rounds))
        ]
    return found


def depths_of(config: EnsembleConfig, n_layers: int, seeds: tuple[int, ...]) -> set[int]:
    """Every depth, in layers, that some member of these seeds reads, except the weak model's own."""
    depths = {view.depth for seed in seeds for _, view in members_of(config, n_layers, seed)}
    return {depth for depth in depths if depth is not None}
