"""What is said of a seed's unlabelled examples, and what a student of it learns."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from ensemw2s.config import Recipe
from ensemw2s.core.labels import Labelled, Votes
from ensemw2s.core.selection import Evidence
from ensemw2s.evaluation.costs import NOTHING
from ensemw2s.evaluation.scored import HARD
from ensemw2s.forms.classification.strong.training_set import ClassTrainingSet
from ensemw2s.forms.classification.weak.experts import ClassVoters
from ensemw2s.forms.prepared import Labels, SeedContext, rows_of
from ensemw2s.results import Cost
from ensemw2s.train.supervision import StudentData

if TYPE_CHECKING:
    from ensemw2s.forms.classification.strong.students import ClassStudents


@dataclass(frozen=True)
class ClassBallot:
    """Votes over the classes, people's answers in the place of labels."""

    students: "ClassStudents"
    seed: SeedContext
    votes: Votes
    checker: ClassVoters
    """The strong model that learned the easy labels."""

    def add(self, seed: SeedContext, voters: ClassVoters) -> tuple[Float[Tensor, "items classes"], Cost]:
        return voters.log_probs[HARD].exp(), NOTHING

    def answers(self, labelled: Labelled) -> tuple[str, ...]:
        choices = self.students.prepared.task.choices
        return tuple(choices[k] for k in labelled.soft.argmax(-1).tolist())

    def answered(self, labelled: Labelled) -> Labelled:
        return labelled  # every class is an answer

    def evidence(self, *, reads_own: bool) -> Evidence:
        prepared, draw = self.students.prepared, self.seed.draw
        own, trusted = self.students.checker_says(self.seed, self.checker)
        labels = prepared.split.easy_labels[draw.easy_val]
        return Evidence(self.votes.member, own, trusted, labels, lambda: self._features, self.votes.voted)

    @cached_property
    def _features(self) -> tuple[Float[Tensor, "hard dim"], Float[Tensor, "val dim"]]:
        """The strong model's, of what is labelled and of what selections may trust."""
        role, draw = self.students.prepared.strong, self.seed.draw
        return role.features(draw.hard_unlabelled), role.features(draw.easy_val)

    def judging_cost(self) -> Cost:
        return NOTHING  # no judge reads classes

    def training_set(
        self, labelled: Labelled, recipe: Recipe, *, on_the_way: bool = False, known: Labels | None = None
    ) -> ClassTrainingSet:
        prepared, draw = self.students.prepared, self.seed.draw
        rows, labels = self.students.labels(self.seed, known)
        data = StudentData(
            rows,
            labels,
            draw.hard_unlabelled,
            prepared.split.difficulty,
            self.students.people(self.seed),
        )
        loss = recipe.make_loss()
        supervision = data.by_recipe(recipe, loss, labelled, self.votes.member, self.votes.voted)
        if known is not None:
            return self.students.training_set(supervision, loss, {}, None)
        parts = {HARD: draw.hard_unlabelled} | ({} if on_the_way else rows_of(prepared, self.seed))
        return self.students.training_set(supervision, loss, parts, self.students.validation(self.seed))
