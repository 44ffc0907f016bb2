"""Settings of the weak ensembles."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ensemw2s.config.base import Count, Frozen
from ensemw2s.names import Method


class EnsembleConfig(Frozen):
    methods: Annotated[tuple[Method, ...], Field(min_length=1)] = ("single", "independent", "bagging", "boosting")
    """Also `subspace` and `layers`, for `weak.adapter: head` alone: members that each read a random share of the
    pooled feature's dimensions, or each a depth of their own."""
    n_rounds: Count = 8
    """T, for every method but `single`: equal cost."""
    feature_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """subspace: the share of the dimensions that a member reads."""
    layer_range: tuple[Count, Count] | None = None
    """layers: the first and the last depth, in layers, that members are dealt; None is the upper half of the weak
    model's."""
    prior: Literal["chance", "pretrained", "unigram"] | Annotated[float, Field(gt=0, lt=1)] = "chance"
    """Error of a reference that knows nothing: `chance` is 1 - 1/K (AdaBoost, SAMME); `pretrained` is the
    untrained model's zero-shot error on the easy training examples (EnsemW2S); `unigram` always gives their most
    frequent class (generation: answer token)."""
    reweight: Literal["loss", "resample"] = "loss"
    error_source: Literal["train", "folds"] = "train"
    n_folds: Annotated[int, Field(ge=2)] = 5
    shrinkage: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_expert_weight: Annotated[float, Field(gt=0)] = 4.0
    """Cap of alpha, in nats."""
    vote: Literal["soft", "hard", "log"] = "soft"
    expert_weights: Literal["alpha", "equal"] = "alpha"
    select_by: Literal["accuracy", "log_loss"] = "log_loss"
    """What chooses T on the easy validation part."""

    @model_validator(mode="after")
    def _range_ascends(self) -> "EnsembleConfig":
        if self.layer_range and self.layer_range[0] > self.layer_range[1]:
            raise ValueError(
                f"layer_range must not descend, got {list(self.layer_range)}; give the first depth and then the last"
            )
        return self

    def depths(self, n_layers: int) -> range:
        """What `layers` deals to the members of a weak model of so many layers."""
        low, high = self.layer_range or (n_layers // 2 + 1, n_layers)
        return range(low, high + 1)

    def beyond(self, n_layers: int) -> str | None:
        """What is wrong where members of `layers` would read more layers than the weak model has."""
        if self.depths(n_layers)[-1] <= n_layers:
            return None
        return (
            f"ensemble.layer_range {list(self.layer_range or ())} exceeds the weak model's {n_layers} layers; lower "
            "it, or raise weak.n_layers"
        )
