"""What a task's answers are, one protocol with two implementations: classes, and generated text.

Every stage of the pipeline is written once against these protocols. What a form hands out (voters, labels, training
sets) it alone looks into.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ensemw2s.config import ExperimentConfig, Recipe, TrainConfig
from ensemw2s.core.labels import Labelled, Votes
from ensemw2s.core.selection import Evidence
from ensemw2s.data.perturb import PerturbedTests
from ensemw2s.data.splits import Draw, Split
from ensemw2s.ensemble.fit import EnsembleState, FittedExpert, Spent
from ensemw2s.ensemble.label import Chosen, Ensemble
from ensemw2s.ensemble.methods import Draw as ExpertDraw
from ensemw2s.evaluation.routing_signals import RoutingRecord
from ensemw2s.evaluation.scored import VAL, Growth, PseudoLabels, Restarted, SamplesRight, Scored, ScoredVoters
from ensemw2s.examples import Task
from ensemw2s.forms.lessons import LessonForm
from ensemw2s.forms.merging import Merged
from ensemw2s.forms.role import Role, WeakRole
from ensemw2s.models.adapting.merging import State
from ensemw2s.records import Expert
from ensemw2s.results import AnswerSample, Condition, Cost, TokenWeights
from ensemw2s.results.conditions import ConditionKind
from ensemw2s.storage.store import Artifact, Store
from ensemw2s.train.checkpoint import Checkpointer

Truth = Int[Tensor, " _"] | tuple[str, ...]
"""Opened labels: class indices, or texts."""


@dataclass(frozen=True)
class Labels:
    """Examples of the split with their true answers, for a training."""

    rows: Int[Tensor, " rows"]
    truth: Truth


@dataclass(frozen=True)
class Prepared:
    """A validated experiment, ready to train. It holds no true answer beside those of the easy pool and the seal."""

    config: ExperimentConfig
    task: Task
    """Without its examples."""
    split: Split
    pool: tuple[WeakRole, ...]
    """The weak models: mostly one."""
    strong: Role
    people: Mapping[str, str]
    """Id to the answer that a person gave."""
    perturbed: tuple[PerturbedTests, ...] = field(default=(), kw_only=True)
    """The tests' prompts under each perturbation."""
    on: Callable[[Split], "Prepared"] | None = field(default=None, kw_only=True)
    """The same models on a split with other prompts, or more; None where nothing is perturbed."""

    @property
    def roles(self) -> Mapping[str, Role]:
        """The pretrained models, by the names of their settings."""
        names = [name for name, _ in self.config.models]
        each = zip(names, (*self.pool, self.strong), strict=True)
        return {name: role for name, role in each if isinstance(role, Role)}

    @property
    def names(self) -> list[str]:
        """Ids of all examples of the split."""
        return [e.id for e in self.split.examples]

    def names_of(self, rows: Int[Tensor, " rows"]) -> list[str]:
        """Ids of these rows."""
        return [self.split.examples[row].id for row in rows.tolist()]


@dataclass
class SeedContext:
    """One seed as a form sees it: its draw, and the store."""

    seed: int
    draw: Draw
    store: Store
    used: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Kind and key of every unit of work, in the order of use: for the stages' manifests."""

    def memo(self, kind: str, key: str, compute: Callable[[], Artifact]) -> Artifact:
        """A unit of work from the store, or computed and kept there."""
        self.used.append((kind, key))
        return self.store.memo(kind, key, compute)


@runtime_checkable
class ExpertTrainer(Protocol):
    """What the experts of one seed learn from: what boosting weighs, and how an expert is fitted to it."""

    @property
    def training(self) -> TrainConfig: ...

    @property
    def n_samples(self) -> int:
        """What boosting weighs: examples, answer tokens or whole answers."""
        ...

    @property
    def judges_apart(self) -> bool:
        """Whether the errors that boosting follows take a pass of their own, and do not come with the fit."""
        ...

    def draw(self, state: EnsembleState) -> ExpertDraw:
        """What the next expert learns from."""
        ...

    def deciding(self, state: EnsembleState, draw: ExpertDraw) -> dict[str, Any]:
        """What decides the next expert beside its draw, training settings and stream: for its key in the store."""
        ...

    def fit(self, state: EnsembleState) -> Artifact:
        """Train the next expert and evaluate it."""
        ...

    def fitted(self, artifact: Artifact, state: EnsembleState) -> FittedExpert:
        """The expert of an artifact that `fit` made."""
        ...

    def errors(self, fitted: FittedExpert) -> Bool[Tensor, " samples"]:
        """Which samples the expert gets wrong."""
        ...

    def held_out_errors(self, state: EnsembleState) -> tuple[Bool[Tensor, " samples"], Spent]:
        """Which samples the like of the next expert on folds that they did not see gets wrong; and what that read."""
        ...

    def judging(self) -> dict[str, Any]:
        """What decides which samples are wrong beside the expert and the number of folds: for the errors' key."""
        ...

    def prior_error(self) -> float:
        """Error rate of the reference classifier that alpha is measured against (chance, unigram or pretrained)."""
        ...


@runtime_checkable
class ExpertForm(Protocol):
    """Experts and what they say."""

    def trainers(self, seed: SeedContext, training: TrainConfig) -> Sequence[ExpertTrainer]:
        """What trains the experts of a seed, for each weak model of the pool, as `training` is resolved for it."""
        ...

    def choose(self, seed: SeedContext, experts: Sequence[Expert], keys: Sequence[str]) -> Chosen:
        """T, the temperature and whether a gate is used, all on easy-val; ties go to the smaller ensemble."""
        ...

    def member_accuracy(self, seed: SeedContext, experts: Sequence[Expert], keys: Sequence[str]) -> list[float]:
        """Accuracy of each expert alone on easy-val."""
        ...

    def ensemble_voters(self, seed: SeedContext, ensemble: Ensemble) -> Any:
        """The chosen experts as those who answer."""
        ...

    def expert_voters(self, seed: SeedContext, expert: Expert, key: str) -> Any:
        """One expert as the one who answers."""
        ...

    def merge(self, seed: SeedContext, ensemble: Ensemble, name: str) -> Merged:
        """One model of the voting experts, by the merge of that name."""
        ...

    def cost(self, seed: SeedContext, experts: Sequence[Expert], training: TrainConfig) -> Cost:
        """Training these experts, and evaluating each once on what is known of it before the tests are opened."""
        ...

    def label(self, seed: SeedContext, ensemble: Ensemble, voters: Any) -> tuple[Any, Cost]:
        """The ensemble's labels of the unlabelled examples, and what labelling cost beside the evaluation."""
        ...


@runtime_checkable
class Ballot(Protocol):
    """What is said of a seed's unlabelled examples, from which a recipe takes its labels."""

    @property
    def votes(self) -> Votes: ...

    def add(self, seed: SeedContext, voters: Any) -> tuple[Float[Tensor, "items classes"], Cost]:
        """What a student says of the same examples, over the ballot's columns, and what asking it cost."""
        ...

    def answers(self, labelled: Labelled) -> tuple[str, ...]:
        """The likeliest answer to each example."""
        ...

    def answered(self, labelled: Labelled) -> Labelled:
        """Without the examples whose label is no answer at all."""
        ...

    def evidence(self, *, reads_own: bool) -> Evidence:
        """What a selection may ask for."""
        ...

    def judging_cost(self) -> Cost:
        """Making the judges, and asking them about every answer."""
        ...

    def training_set(
        self, labelled: Labelled, recipe: Recipe, *, on_the_way: bool = False, known: Labels | None = None
    ) -> Any:
        """What a student of these labels learns.

        Args:
            on_the_way: the student is a label model's, which is asked for its labels and not tested.
            known: learned in the place of the easy training examples, by a student that is neither validated nor
                tested.
        """
        ...


@runtime_checkable
class StudentForm(Protocol):
    """Students, the strong model on true labels, and the untrained one.

    A training set is a dataclass of the form's own; its `training` says how it is learned (`TrainConfig`, resolved).
    """

    def zero_shot(self, seed: SeedContext) -> tuple[Any, Cost] | None:
        """The untrained strong model as the one who answers; None where it cannot."""
        ...

    def on_easy(self, seed: SeedContext, known: Labels | None = None, *, more: Labels | None = None) -> Any:
        """The training set of the strong model on true easy labels.

        Args:
            known: as in `Ballot.training_set`.
            more: learned beside the easy training examples.
        """
        ...

    def on_truth(self, seed: SeedContext, truth: Truth) -> Any:
        """The training set of the ceiling."""
        ...

    def self_labels(self, seed: SeedContext, voters: Any) -> tuple[Any, Cost]:
        """The labels that the strong model itself gives, once it learned the easy ones."""
        ...

    def rivals(self, seed: SeedContext) -> Mapping[Condition, tuple[Any, Cost]]:
        """Trivial ways to answer, without a language model: those who answer, and what they cost."""
        ...

    def in_context(self, seed: SeedContext, labels: Mapping[str, Any]) -> Mapping[Condition, tuple[Any, Cost]]:
        """The untrained strong model that is shown labels of each method, where the run has that."""
        ...

    def judges(self, seed: SeedContext, first: Any, on_easy: Any) -> Any | None:
        """The seed's judges, made or found; None where the run has none.

        Args:
            first: the run's first ensemble as those who answer.
            on_easy: as in `ballot`.
        """
        ...

    def best_of_n(self, seed: SeedContext, voters: Any, judges: Any) -> Mapping[ConditionKind, tuple[Any, Cost]]:
        """A trained model of which judges, or the majority, choose one of several answers: those who answer, and what
        drawing and asking the judges cost; by the kind of their condition."""
        ...

    def ballot(
        self, seed: SeedContext, labels: Mapping[str, Any], teacher: str, recipe: Recipe, on_easy: Any, judges: Any
    ) -> Ballot:
        """What a teacher says; `on_easy` is the strong model that learned the easy labels, `judges` as made here."""
        ...

    def deciding(self, training_set: Any) -> dict[str, Any]:
        """What of a training set decides the student: for its key in the store."""
        ...

    def fit(
        self, training_set: Any, *, seed: int, checkpointer: Checkpointer | None, start: Sequence[State] = ()
    ) -> Artifact:
        """Train a student. The artifact's record has `owned`, its trained parameters, and `end`, a `TrainingEnd`.

        Args:
            start: weak experts whose merge it begins as; none is the pretrained model.
        """
        ...

    def read_alike(self, training_set: Any, voters: Any) -> Any:
        """The training set for a student that reads of a text what this one was found to read best."""
        ...

    def voters(self, training_set: Any, artifact: Artifact, key: str) -> Any:
        """A trained student as the one who answers."""
        ...

    def cost(self, training_set: Any, artifact: Artifact) -> Cost: ...

    def losses(self, seed: SeedContext, voters: Any, known: Labels) -> tuple[Float[Tensor, " known"], Cost]:
        """A student's loss on these true answers, in generation per token; and what finding it cost."""
        ...

    def log_likelihood(self, seed: SeedContext, voters: Any) -> Float[Tensor, " val"]:
        """Of the true answer to each easy-val example; in generation per token."""
        ...


@runtime_checkable
class ScoringForm(Protocol):
    """Answers held against the truth, which the pipeline has opened."""

    def score(self, seed: SeedContext, voters: Any, part: str, truth: Truth | None) -> Scored:
        """A condition's answers to a part; the truth of easy-val is known to the form."""
        ...

    def asked(self, seed: SeedContext, voters: Any, rows: Int[Tensor, " rows"]) -> Any:
        """The voters of a run whose prompts differ from those of this form's in these rows, asked these."""
        ...

    def hard_answers(self, voters: Any) -> Int[Tensor, " hard"] | None:
        """The classes that a condition gives to the unlabelled examples; None where it was not asked."""
        ...

    def hard_right(self, seed: SeedContext, voters: Any, truth: Truth) -> Bool[Tensor, " hard"] | None:
        """Which of the unlabelled examples a student answers truly; None where it was not asked."""
        ...

    def growth(self, seed: SeedContext, ensemble: Ensemble, part: str, truth: Truth | None) -> Growth: ...

    def test_cost(self, seed: SeedContext, ensemble: Ensemble, truths: Mapping[str, Truth]) -> Cost:
        """What the ensemble's evaluation on the tests cost beyond `ExpertForm.cost`."""
        ...

    def signals(self, seed: SeedContext, labels: Mapping[str, Any], ensemble: Ensemble, on_easy: Any) -> RoutingRecord:
        """What routing decides by; `on_easy` is the strong model that learned the easy labels."""
        ...

    def right_labels(self, answers: Sequence[str], truth: Truth) -> Bool[Tensor, " items"]:
        """Which of these answers to the unlabelled items are true."""
        ...

    def pseudo_labels(self, labels: Mapping[str, Any], truth: Truth) -> dict[str, PseudoLabels]:
        """Confidence and truth of each ensemble's labels, where they are shown as a reliability diagram."""
        ...

    def restarts(self, labels: Mapping[str, Any], truth: Truth) -> dict[str, Restarted]:
        """Teacher to its own answers and the samples that went on from them (`generation.restart`), where there are."""
        ...

    def voters(
        self, seed: SeedContext, labels: Mapping[str, Any], ensemble: Ensemble, truth: Truth | None
    ) -> ScoredVoters | None:
        """Outside voters, and the labels that they and this ensemble came to; None where there are no such voters."""
        ...

    def best_of_n(
        self, seed: SeedContext, labels: Mapping[str, Any], judges: Any, truth: Truth
    ) -> Mapping[str, Sequence[SamplesRight]]:
        """What choices among each teacher's drawn answers to the unlabelled items are worth, where there are some."""
        ...

    def samples(
        self, seed: SeedContext, labels: Mapping[str, Any], method: str, truth: Truth | None
    ) -> tuple[AnswerSample, ...]:
        """A few unlabelled questions with what was answered."""
        ...

    def token_weights(self, seed: SeedContext, ensembles: Mapping[str, Ensemble]) -> tuple[TokenWeights, ...]:
        """Which tokens boosting weighs most."""
        ...


@dataclass(frozen=True)
class TaskForm:
    """Classes or generated text."""

    experts: ExpertForm
    students: StudentForm
    scoring: ScoringForm
    lessons: LessonForm | None = None
    """Second lessons, where answers are texts."""


def rows_of(prepared: Prepared, seed: SeedContext) -> dict[str, Int[Tensor, " rows"]]:
    """Rows of easy-val and of the tests: what every condition is evaluated on."""
    tests = {part: torch.tensor(list(prepared.split.pools[part])) for part in prepared.split.tests}
    return {VAL: seed.draw.easy_val, **tests}
