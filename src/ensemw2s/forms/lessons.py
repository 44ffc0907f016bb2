"""The second lesson of a student, as the pipeline asks the forms for it that have one."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from ensemw2s.config import Recipe, TrainConfig
from ensemw2s.core.labels import Labelled
from ensemw2s.results import Cost
from ensemw2s.storage.store import Artifact
from ensemw2s.train.checkpoint import Checkpointer


@runtime_checkable
class Lesson(Protocol):
    """What a student learns after its labels."""

    @property
    def training(self) -> TrainConfig:
        """Resolved."""
        ...

    @property
    def n_pairs(self) -> int: ...

    @property
    def facts(self) -> Mapping[str, Any]:
        """Of the questions that gave its pairs, and of those that gave none."""
        ...


@runtime_checkable
class LessonForm(Protocol):
    """A second lesson from pairs of answers."""

    def prepare(
        self, ballot: Any, labelled: Labelled, recipe: Recipe, row: str, student: Any, teacher: Any
    ) -> tuple[Any, Cost]:
        """The pairs that a student's own samples, these labels and judges give, and what making them cost.

        Args:
            ballot: from which the recipe took its labels.
            row: key of the student's condition.
            student: as the one who answers.
            teacher: as those who answer, by whom the labels are.
        """
        ...

    def again(self, lesson: Any, student: Any, training: TrainConfig) -> Any:
        """The same pairs for another student, which is not validated."""
        ...

    def deciding(self, training_set: Any) -> dict[str, Any]:
        """As of `StudentForm`."""
        ...

    def fit(self, training_set: Any, *, seed: int, checkpointer: Checkpointer | None) -> Artifact:
        """As of `StudentForm`; the record has a `LessonEnd`, too."""
        ...

    def voters(self, training_set: Any, artifact: Artifact, key: str) -> Any:
        """As of `StudentForm`."""
        ...

    def cost(self, training_set: Any, artifact: Artifact) -> Cost: ...
