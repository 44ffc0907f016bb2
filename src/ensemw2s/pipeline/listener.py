"""Who is told of a run's figures while it goes on."""

from types import TracebackType

from ensemw2s.records import Expert
from ensemw2s.results import Condition, Results
from ensemw2s.training_end import TrainingEnd


class Listener:
    """Told of a run's figures as they come, whether they were computed or found in the store; does nothing with them.

    It is entered once the run folder is this process's alone, before any work; what it raises then refuses the run.
    What it raises later ends it.
    """

    def __enter__(self) -> "Listener":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The run is over, finished or not."""

    def round(self, seed: int, expert: Expert) -> None:
        """An ensemble of a seed has a further expert."""

    def student(self, seed: int, condition: Condition, end: TrainingEnd | None) -> None:
        """A strong model is trained; `end` is None where the store does not say how that ended."""

    def finished(self, results: Results) -> None:
        """The run folder is whole."""
