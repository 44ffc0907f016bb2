"""Students, as the pipeline asks a form for them: from what is said of the unlabelled examples to a trained model."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from ensemw2s.config import Recipe
from ensemw2s.core.labels import Labelled, Votes
from ensemw2s.core.selection import Evidence
from ensemw2s.forms.prepared import Labels, SeedContext, Truth
from ensemw2s.models.adapting.merging import State
from ensemw2s.results import Condition, Cost
from ensemw2s.results.conditions import ConditionKind
from ensemw2s.storage.store import Artifact
from ensemw2s.train.checkpoint import Checkpointer


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
