"""What a student is trained on: from the labels of a label model and a selection to samples with weights and order.

A student, a baseline and the ceiling are one training with other labels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from ensemw2s.config import Recipe
from ensemw2s.core.labels import Labelled, Learn, Votes
from ensemw2s.core.losses import WeakBatch, WeakToStrongLoss
from ensemw2s.core.pacing import Pace
from ensemw2s.core.selection import Evidence
from ensemw2s.train.samples import Supervision

N_GROUPS = 4
"""Bins of difficulty, of equally many examples, for losses over groups."""


def true_labels(rows: Int[Tensor, " samples"], labels: Int[Tensor, " samples"], n_classes: int) -> Supervision:
    """Plain supervised training: one-hot targets, all samples counting alike."""
    return Supervision(rows, WeakBatch(soft=one_hot(labels, n_classes).float()), torch.ones(len(rows)))


def learned_labels(recipe: Recipe, votes: Votes, learn: Learn, evidence: Callable[[], Evidence]) -> Labelled:
    """The pseudo-labels that a recipe's label model makes of the votes, and those of them that its selection keeps.

    Args:
        learn: trains a student on labels and returns its distribution over all unlabelled examples; called as often
            as the label model says.
        evidence: what the selection may ask; called once, after the label model.
    """
    labelled = recipe.make_label_model()(votes, learn)
    return recipe.make_selection()(labelled, evidence())


@dataclass(frozen=True)
class StudentData:
    """The examples that the students of one seed may learn from, as rows of the strong model's inputs."""

    easy_rows: Int[Tensor, " easy"]
    easy_labels: Int[Tensor, " easy"]
    hard_rows: Int[Tensor, " hard"]
    """Unlabelled examples, in the order of the votes."""
    difficulty: Float[Tensor, " examples"]
    """Of every example, easy or hard, by its row; NaN where nobody knows it."""
    people: Int[Tensor, " hard"]
    """The class that a person gave to a hard example, -1 where nobody did."""

    def with_people(self, labelled: Labelled) -> Labelled:
        """Labels with people's answers in their place; no selection drops one of these."""
        known = self.people >= 0
        answers = one_hot(self.people.clamp_min(0), labelled.soft.shape[1]).to(labelled.soft.dtype)
        return Labelled(torch.where(known[:, None], answers, labelled.soft), labelled.keep | known)

    def pseudo_labels(self, labelled: Labelled) -> Supervision:
        """The kept labels as they stand, for students that a label model trains on its way."""
        labelled = self.with_people(labelled)
        rows = self.hard_rows[labelled.keep]
        return Supervision(rows, WeakBatch(soft=labelled.soft[labelled.keep]), torch.ones(len(rows)))

    def by_recipe(
        self,
        recipe: Recipe,
        loss: WeakToStrongLoss,
        labelled: Labelled,
        member: Float[Tensor, "experts hard classes"],
        voted: Bool[Tensor, "experts hard"] | None = None,
    ) -> Supervision:
        """What a recipe's student is trained on.

        `with_easy` adds the true easy labels, which come first and which every member would give.

        Args:
            member: each member's own distribution over the classes, for losses that learn from each.
            voted: False where a member abstains; the label that the others came to then stands for its own.
        """
        labelled = self.with_people(labelled)
        has_own = self.people < 0 if voted is None else voted & (self.people < 0)
        member = torch.where(has_own[..., None], member, labelled.soft)
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
        weights, pace = weights_and_pace(recipe, soft.amax(-1), self.difficulty[rows])
        return Supervision(rows, targets, weights, pace)


def weights_and_pace(
    recipe: Recipe, confidence: Float[Tensor, " pseudo"], difficulty: Float[Tensor, " samples"]
) -> tuple[Float[Tensor, " samples"], Pace | None]:
    """How much each sample counts, mean 1, and the order in which a curriculum brings samples in.

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
