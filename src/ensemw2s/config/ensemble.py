"""Settings of the weak ensembles."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from ensemw2s.config.base import Count, Frozen
from ensemw2s.config.context import ContextConfig
from ensemw2s.config.pieces import Options, make_piece
from ensemw2s.tables import MERGES, METHODS

if TYPE_CHECKING:
    from ensemw2s.core.merging import Merge


class EnsembleConfig(Frozen):
    younger: ClassVar[tuple[str, ...]] = ("context", "gate_l2", "merges", "merge_options")

    methods: Annotated[tuple[str, ...], Field(min_length=1)] = ("single", "independent", "bagging", "boosting")
    """Names in the table of ensemble methods. Also, for `weak.adapter: head` alone, `subspace` and `layers`: members
    that each read a random share of the pooled feature's dimensions, or each a depth of their own. Also, for that and
    for answers in words, `contexts`: members that read the question behind a text of their own; and `prompted`: the
    same untrained, by the likelihood of the choices or of the next token."""
    method_options: dict[str, dict[str, int | float | str]] = Field(default_factory=dict)
    """By method: options of methods of other packages, as `{my-method: {power: 2}}`."""
    n_rounds: Count = 8
    """T, for every method but `single`: equal cost."""
    feature_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """subspace: the share of the dimensions that a member reads."""
    layer_range: tuple[Count, Count] | None = None
    """layers: the first and the last depth, in layers, that members are dealt; None is the upper half of the weak
    model's."""
    context: ContextConfig = ContextConfig()
    """contexts, prompted: what stands before the question."""
    prior: Literal["chance", "pretrained", "unigram"] | Annotated[float, Field(gt=0, lt=1)] = "chance"
    """Error of a reference that knows nothing: `chance` is 1 - 1/K (AdaBoost, SAMME); `pretrained` is the
    untrained model's zero-shot error on the easy training examples (EnsemW2S); `unigram` always gives their most
    frequent class (generation: answer token)."""
    reweight: Literal["loss", "resample"] = "loss"
    error_source: Literal["train", "folds"] = "train"
    """Whether boosting follows the errors of its members on their own training examples or of their like on held-out
    folds; those of a pool always on folds, by which they are chosen."""
    n_folds: Annotated[int, Field(ge=2)] = 5
    shrinkage: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_expert_weight: Annotated[float, Field(gt=0)] = 4.0
    """Cap of alpha, in nats."""
    vote: Literal["soft", "hard", "log", "gated"] = "soft"
    """Of probabilities, of answers, or of log-probabilities: over classes, or over the next token (`soft`, `log`). A
    pool whose answers are words votes on whole answers (`soft`: each with its own probability; `hard`). `gated`, for
    classes of one weak model: a gate says question by question which members to believe, where one half of easy
    validation data shows that it wins; else `soft`."""
    gate_l2: Annotated[float, Field(gt=0)] = 1e-2
    """vote: gated: weight of the penalty on the gate's squared weights, beside the mean log loss."""
    merges: tuple[str, ...] = ()
    """Also make one model of each method's voting members, a row each, at one model's cost: names in the table of
    merges, such as linear, ties, dare. Members must be trained from one start."""
    merge_options: dict[str, Options] = Field(default_factory=dict)
    """By merge: its options, as `{ties: {density: 0.3}}`."""
    expert_weights: Literal["alpha", "equal"] = "alpha"
    temperature: Literal["fit", "none"] = "fit"
    """Classes: whether the ensemble's probabilities are calibrated on easy validation data, or given as they are."""
    select_by: Literal["accuracy", "log_loss"] | Count = "log_loss"
    """What chooses T on the easy validation part; a number is T itself, or all members where there are fewer. A pool
    whose answers are words is chosen by accuracy: its vote gives an answer that nobody wrote no likelihood."""

    @field_validator("methods")
    @classmethod
    def _methods_known(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [method for method in methods if method not in METHODS]:
            raise ValueError(f"there is no {unknown[0]!r}; choose among {', '.join(METHODS)}")
        return methods

    @field_validator("merges")
    @classmethod
    def _merges_known(cls, merges: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [merge for merge in merges if merge not in MERGES]:
            raise ValueError(f"there is no {unknown[0]!r}; choose among {', '.join(MERGES)}")
        if len(set(merges)) != len(merges):
            raise ValueError(f"lists a merge twice: {list(merges)}")
        return merges

    @model_validator(mode="after")
    def _merge_options_used(self) -> "EnsembleConfig":
        if unused := [merge for merge in self.merge_options if merge not in self.merges]:
            raise ValueError(f"merge_options: {unused[0]!r} is not among merges; add it there, or leave it out")
        for name in self.merges:  # a built-in piece without options is valid, and is not loaded
            if self.merge_options.get(name) or not MERGES.is_built_in(name):
                self.make_merge(name)
        return self

    @model_validator(mode="after")
    def _options_used(self) -> "EnsembleConfig":
        if unused := [method for method in self.method_options if method not in self.methods]:
            raise ValueError(f"method_options: {unused[0]!r} is not among methods; add it there, or leave it out")
        return self

    @model_validator(mode="after")
    def _range_ascends(self) -> "EnsembleConfig":
        if self.layer_range and self.layer_range[0] > self.layer_range[1]:
            raise ValueError(
                f"layer_range must not descend, got {list(self.layer_range)}; give the first depth and then the last"
            )
        return self

    @property
    def plain_vote(self) -> Literal["soft", "hard", "log"]:
        """The vote where no gate has a part in it."""
        return "soft" if self.vote == "gated" else self.vote

    def make_merge(self, name: str) -> "Merge":
        """A merge with its options."""
        return make_piece(MERGES[name], name, f"merge_options.{name}", self.merge_options.get(name, {}))

    @model_validator(mode="after")
    def _principles_suffice(self) -> "EnsembleConfig":
        n = len(self.context.principles)
        if self.context.kind == "principles" and n < self.n_rounds:
            raise ValueError(
                f"context.principles has {n} sentences for {self.n_rounds} members (n_rounds); give each its own, or "
                f"lower n_rounds"
            )
        return self

    def beyond(self, n_layers: int) -> str | None:
        """What is wrong where members of `layers` would read more layers than the weak model has."""
        if dealt_depths(self.layer_range, n_layers)[-1] <= n_layers:
            return None
        return (
            f"ensemble.layer_range {list(self.layer_range or ())} exceeds the weak model's {n_layers} layers; lower "
            "it, or raise weak.n_layers"
        )


def dealt_depths(layer_range: tuple[int, int] | None, n_layers: int) -> range:
    """The depths that `layers` deals to the members of a weak model of so many layers; by default the upper half."""
    low, high = layer_range or (n_layers // 2 + 1, n_layers)
    return range(low, high + 1)
