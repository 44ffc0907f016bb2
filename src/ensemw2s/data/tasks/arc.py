"""arc: "is this answer right?" of the AI2 Reasoning Challenge, one candidate answer per question."""

import random
from typing import Literal

from ensemw2s.config.base import Text
from ensemw2s.config.task import TaskSettings
from ensemw2s.core.seeds import stream_seed
from ensemw2s.data.science import DIFFICULTIES, ArcDifficulty, arc_questions, arc_source, arc_stand_in
from ensemw2s.errors import DataError
from ensemw2s.examples import Example, Task

CHOICES = ("no", "yes")


class Arc(TaskSettings):
    name: Literal["arc"] = "arc"
    path: Text
    """The folder of the ARC-*.jsonl files, with annotations.json where the difficulty is an annotation."""
    seed: int = 0
    """Of the candidate answers."""
    arc_difficulty: ArcDifficulty = "set"
    """Easy/Challenge, or one of the annotations by people; questions without a usable one are left out then."""

    def load(self) -> Task:
        """All questions of the folder's files, each with its right answer or, at even odds, a wrong one.

        The candidate of a question is drawn from its own stream, so that no other question changes it.

        Raises:
            DataError: the folder or a file is missing, or a question is malformed.
        """
        examples = []
        for place, question, rated in arc_questions(self.path, self.arc_difficulty):
            wrong = [option for option in question.options if option.strip() != question.right.strip()]
            if not wrong:
                raise DataError(f"{place}: the question has no wrong answer to draw from; get the file anew")
            rng = random.Random(stream_seed(self.seed, "arc", question.id))
            is_right = rng.random() < 0.5
            candidate = question.right if is_right else rng.choice(wrong)
            prompt = f"Question: {question.stem}\nAnswer: {candidate}\nIs this answer right?"
            examples.append(Example(f"arc-{question.id}", question.id, prompt, CHOICES, CHOICES[is_right], rated))
        meaning = DIFFICULTIES[self.arc_difficulty]
        return Task("arc", tuple(examples), CHOICES, arc_source(self.arc_difficulty), meaning)

    def stand_in(self) -> dict[str, str]:
        return arc_stand_in(self.arc_difficulty)
