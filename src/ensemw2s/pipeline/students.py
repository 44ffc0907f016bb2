"""Which students a seed trains. A student, a baseline and the ceiling are one training with other labels."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from ensemw2s.config import Recipe
from ensemw2s.config.recipe import Teacher
from ensemw2s.core.labels import Labelled
from ensemw2s.core.losses import CrossEntropy, WeakBatch, WeakToStrongLoss
from ensemw2s.core.pacing import Pace
from ensemw2s.train.loop import Supervision

STRONG_ON_EASY = "strong_on_easy"
CEILING = "ceiling"
SELF: Teacher = "self"
"""The teacher that is strong-on-easy itself: self-training."""
N_GROUPS = 4
"""Bins of difficulty, of equally many examples, for losses over groups."""


def student_key(teacher: Teacher, recipe: Recipe) -> str:
    """The row of a student: of an ensemble's labels, or of the strong model's own."""
    return f"self_training:{recipe.name}" if teacher == SELF else f"student:{teacher}:{recipe.name}"


@dataclass(frozen=True)
class Lesson:
    """One student to train: its row's key, what it sees, and with which loss."""

    key: str
    supervision: Supervision
    loss: WeakToStrongLoss


def on_truth(key: str, rows: Int[Tensor, " samples"], labels: Int[Tensor, " samples"], n_classes: int) -> Lesson:
    """Plain supervised training of the strong model."""
    soft = one_hot(labels, n_classes).float()
    return Lesson(key, Supervision(rows, WeakBatch(soft=soft), torch.ones(len(rows))), CrossEntropy())


@dataclass(frozen=True)
class Lessons:
    """What all lessons of one seed share."""

    easy_rows: Int[Tensor, " easy"]
    easy_labels: Int[Tensor, " easy"]
    hard_rows: Int[Tensor, " hard"]
    difficulty: Float[Tensor, " examples"]
    """Of every example of the split, by which losses over groups bin theirs."""
    people: Int[Tensor, " hard"]
    """The class that a person gave to a hard example, -1 where nobody did."""

    def with_people(self, labelled: Labelled) -> Labelled:
        """People's answers in the place of the labels; no selection drops one."""
        known = self.people >= 0
        answers = one_hot(self.people.clamp_min(0), labelled.soft.shape[1]).to(labelled.soft.dtype)
        return Labelled(torch.where(known[:, None], answers, labelled.soft), labelled.keep | known)

    def plain(self, key: str, labelled: Labelled) -> Lesson:
        """Cross-entropy on these labels of the hard examples."""
        labelled = self.with_people(labelled)
        rows, targets = self.hard_rows[labelled.keep], labelled.soft[labelled.keep]
        return Lesson(key, Supervision(rows, WeakBatch(soft=targets), torch.ones(len(rows))), CrossEntropy())

    def from_labels(
        self, teacher: Teacher, recipe: Recipe, labelled: Labelled, member: Float[Tensor, "experts hard classes"]
    ) -> Lesson:
        """A recipe on these labels; `with_easy` adds the true easy labels, which every member would give."""
        loss = recipe.make_loss()
        labelled = self.with_people(labelled)
        member = torch.where((self.people >= 0)[:, None], labelled.soft, member)
        rows, soft = self.hard_rows[labelled.keep], labelled.soft[labelled.keep]
        given = [soft, *(member[:, labelled.keep].float() if loss.needs_members else ())]
        if recipe.labels == "hard":
            given = [one_hot(label.argmax(-1), label.shape[1]).float() for label in given]
        if recipe.with_easy:
            rows = torch.cat([self.easy_rows, rows])
            true = one_hot(self.easy_labels, soft.shape[1]).float()
            given = [torch.cat([true, label]) for label in given]
        targets = WeakBatch(
            soft=given[0],
            member=torch.stack(given[1:]) if loss.needs_members else None,
            group=difficulty_bins(self.difficulty[rows]) if loss.needs_groups else None,
        )
        weights, pace = mixture(recipe, soft.amax(-1), self.difficulty[rows])
        return Lesson(student_key(teacher, recipe), Supervision(rows, targets, weights, pace), loss)


def mixture(
    recipe: Recipe, confidence: Float[Tensor, " pseudo"], difficulty: Float[Tensor, " samples"]
) -> tuple[Float[Tensor, " samples"], Pace | None]:
    """How much each sample counts, mean 1, and when it comes in.

    Args:
        confidence: of the pseudo-labelled samples, which come last.
        difficulty: of all samples; those before the pseudo-labelled are truly labelled.
    """
    n, n_pseudo = len(difficulty), len(confidence)
    n_easy = n - n_pseudo
    pseudo = confidence / confidence.mean() if recipe.weigh_by == "confidence" else torch.ones(n_pseudo)
    mean = (recipe.easy_weight * n_easy + n_pseudo) / n
    weights = torch.cat([torch.full((n_easy,), recipe.easy_weight), pseudo]) / mean
    doubt = torch.cat([torch.zeros(n_easy), 1.0 - confidence])
    hardness = {"none": None, "confidence": doubt, "difficulty": difficulty}[recipe.curriculum]
    if hardness is None:
        return weights, None
    return weights, Pace(hardness, recipe.curriculum_start, recipe.curriculum_ramp)


def difficulty_bins(difficulty: Float[Tensor, " samples"]) -> Int[Tensor, " samples"]:
    """Bins of equally many examples, easiest first; one bin where nobody knows the difficulty."""
    if not bool(difficulty.isfinite().all()):
        return torch.zeros(len(difficulty), dtype=torch.long)
    edges = torch.quantile(difficulty.double(), torch.linspace(0, 1, N_GROUPS + 1, dtype=torch.float64))[1:-1]
    return torch.bucketize(difficulty.double(), edges.unique())
