"""arc-qa: questions of the AI2 Reasoning Challenge, answered by the text of the right option."""

from typing import Literal

from ensemw2s.config.base import Text
from ensemw2s.config.task import TaskSettings
from ensemw2s.data.answers import free_task
from ensemw2s.data.science import DIFFICULTIES, ArcDifficulty, arc_questions, arc_source, arc_stand_in, free_example
from ensemw2s.examples import Task


class ArcQa(TaskSettings):
    name: Literal["arc-qa"] = "arc-qa"
    path: Text
    """The folder of the ARC-*.jsonl files, with annotations.json where the difficulty is an annotation."""
    arc_difficulty: ArcDifficulty = "set"
    """Easy/Challenge, or one of the annotations by people; questions without a usable one are left out then."""
    show_options: bool = False
    """List the options of a question in its prompt."""

    is_free = True
    has_options = True

    def load(self) -> Task:
        """All questions of the folder's files.

        Raises:
            DataError: the folder or a file is missing, or a question is malformed.
        """
        examples = [
            free_example(f"arc-{question.id}", question, rated, show_options=self.show_options)
            for _, question, rated in arc_questions(self.path, self.arc_difficulty)
        ]
        return free_task("arc-qa", examples, arc_source(self.arc_difficulty), DIFFICULTIES[self.arc_difficulty])

    def stand_in(self) -> dict[str, str]:
        return arc_stand_in(self.arc_difficulty)
