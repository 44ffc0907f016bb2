"""What the evaluation is made of: the opened truth, and each condition's answers held against it. No model is here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ensemw2s.evaluation.routing_signals import RoutingRecord
from ensemw2s.records import Expert
from ensemw2s.results import Condition, Cost
from ensemw2s.training_end import TrainingEnd

VAL, HARD = "easy_val", "hard_unlabelled"
"""Parts of a seed's own draw that conditions are asked about; the tests are those of the split."""


@dataclass(frozen=True)
class HeldOutItems:
    """The items of the test parts that there are, the easy one first."""

    groups: Mapping[str, Int[Tensor, " _"]]
    """Part to the group of each item, within which items are not independent."""
    difficulty: Mapping[str, Float[Tensor, " _"]]
    """Part to the difficulty of each item; larger is harder."""

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.groups)

    @property
    def hardest(self) -> str:
        """The part of diagnostics: OOD, or ID where there is no OOD test."""
        return self.parts[-1]

    @property
    def has_difficulty(self) -> bool:
        """Whether any two test items differ in it."""
        return len(torch.cat(list(self.difficulty.values())).unique()) > 1


@dataclass(frozen=True)
class Scored:
    """One condition's answers to one part, in one seed."""

    right: Bool[Tensor, " items"]
    figures: Mapping[str, float]
    """Metrics that are no mean of `right`, by their name in `core.metrics.RANGES`."""
    confidence: Float[Tensor, " items"] | None = None
    """Probability of the answer that is given, where the form knows it."""
    confusion: Int[Tensor, "classes classes"] | None = None
    """How many items of each true class (row) are given each class (column); None where there are no classes."""


@dataclass(frozen=True)
class Growth:
    """Which items of one part an ensemble's members answer truly, alone and together."""

    member: Bool[Tensor, "experts items"]
    together: Bool[Tensor, "experts items"]
    """By the first t of them together, for every t."""
    all_wrong: float
    """Share of the items on which every member is wrong (classes: with the same answer)."""


@dataclass(frozen=True)
class GrownEnsemble:
    """How one method's ensemble of one seed grew."""

    method: str
    prior_error: float
    experts: Sequence[Expert]
    selected: int
    temperature: float
    parts: Mapping[str, Growth]


@dataclass(frozen=True)
class PseudoLabels:
    """An ensemble's labels of the unlabelled items, held against their truth."""

    confidence: Float[Tensor, " items"]
    right: Bool[Tensor, " items"]


@dataclass(frozen=True)
class SamplesRight:
    """Shares of questions of which a choice among the first n drawn answers is true."""

    n: int
    judged: float
    majority: float
    any: float


@dataclass(frozen=True)
class ScoredVoters:
    """Outside voters in one seed, and the labels of its unlabelled items that they have a part in."""

    names: tuple[str, ...]
    reliability: Float[Tensor, " voters"]
    """Learned: the probability that a vote for one class is right."""
    is_known: Bool[Tensor, " voters"]
    """Whether it was learned from labelled examples, and not by agreement with the models' labels."""
    n_easy: Int[Tensor, " voters"]
    """Votes on the seed's labelled examples."""
    n_easy_right: Int[Tensor, " voters"]
    n_hard: Int[Tensor, " voters"]
    """Votes on the seed's unlabelled items."""
    n_hard_right: Int[Tensor, " voters"] | None
    """None where nobody knows the truth, as below."""
    is_voted_on: Bool[Tensor, " items"]
    """By any voter."""
    models_right: Bool[Tensor, " items"] | None
    """Whether the label of the models alone is true."""
    joined_right: Bool[Tensor, " items"] | None
    """Whether that of models and voters is."""


@dataclass(frozen=True)
class Learned:
    """The labels of a seed's unlabelled items that one student learned, and its own answers to them."""

    label_is_right: Bool[Tensor, " hard"]
    student_is_right: Bool[Tensor, " hard"]


@dataclass(frozen=True)
class ScoredCondition:
    """One condition of one seed."""

    parts: Mapping[str, Scored]
    cost: Cost
    n_experts: int | None = None
    """T, for ensembles and their students."""
    ends: tuple[TrainingEnd | None, ...] = ()
    """How the trainings behind it ended; None where nobody knows."""
    hard_answers: Int[Tensor, " hard"] | None = None
    """The class that it gives to each of `ScoredSeed.hard_rows`; None where it was not asked."""
    learned: Learned | None = None
    """Of a student of weak labels; None where nobody knows the truth of the unlabelled items."""


@dataclass(frozen=True)
class ScoredSeed:
    """Everything that one seed gives to the evaluation."""

    seed: int
    hard_rows: Int[Tensor, " hard"]
    """Which examples of the split are its unlabelled ones."""
    hard_groups: Int[Tensor, " hard"]
    """Of these examples: within one they are not independent."""
    conditions: Mapping[Condition, ScoredCondition]
    ensembles: Sequence[GrownEnsemble]
    chosen: Condition | None
    """What `auto` stands for."""
    signals: RoutingRecord
    """Of the ensemble whose labels the budget curves mend."""
    labels_right: Bool[Tensor, " items"] | None
    """Whether each of its labels of the unlabelled items is true; None where nobody knows."""
    checker_right: Bool[Tensor, " items"] | None
    """The same of the strong model that learned the easy labels."""
    pseudo_labels: Mapping[str, PseudoLabels]
    """Method to its labels, where their truth is known and their calibration is shown (generation)."""
    alone: Sequence[Mapping[str, Scored]] = ()
    """Part to the answers of each member of a pool, trained on all easy examples alike; empty without a pool."""
    voters: ScoredVoters | None = None
    """Outside voters, and the labels that they have a part in; of the same ensemble as `signals`."""
    best_of_n: Mapping[str, Sequence[SamplesRight]] = field(default_factory=dict[str, Sequence[SamplesRight]])
    """Teacher to what choices among its drawn answers are worth; empty without judges, samples or the truth."""
