"""From labels and a recipe to what a student is trained on: targets, weights and the order of the samples."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from ensemw2s.config import Recipe
from ensemw2s.core.labels import Labelled
from ensemw2s.core.losses import CrossEntropy, WeakBatch, WeakToStrongLoss
from ensemw2s.core.pacing import Pace
from ensemw2s.train.loop import Supervision

N_GROUPS = 4
"""Bins of difficulty, of equally many examples, for losses over groups."""


@dataclass(frozen=True)
class TrueLabels:
    """Labelled examples: rows of the inputs, and their classes."""

    rows: Int[Tensor, " easy"]
    labels: Int[Tensor, " easy"]


def on_truth(true: TrueLabels, n_classes: int) -> tuple[Supervision, WeakToStrongLoss]:
    """Plain supervised training."""
    soft = one_hot(true.labels, n_classes).float()
    return Supervision(true.rows, WeakBatch(soft=soft), torch.ones(len(true.rows))), CrossEntropy()


def on_pseudo_labels(
    recipe: Recipe,
    labelled: Labelled,
    member: Float[Tensor, "experts hard classes"],
    rows: Int[Tensor, " hard"],
    difficulty: Float[Tensor, " examples"],
    easy: TrueLabels,
) -> tuple[Supervision, WeakToStrongLoss]:
    """A recipe on pseudo-labels; `with_easy` adds the true easy labels, which every member would give.

    Args:
        labelled: labels of the unlabelled examples, and which of them are learned.
        member: each member's own distribution over the classes.
        rows: of the unlabelled examples in the inputs.
        difficulty: of every example in the inputs, by which losses over groups and curricula go.
        easy: the labelled examples.
    """
    loss: WeakToStrongLoss = recipe.make_loss()
    kept, soft = rows[labelled.keep], labelled.soft[labelled.keep]
    targets = [soft, *(member[:, labelled.keep].float() if loss.needs_members else ())]
    if recipe.labels == "hard":
        targets = [one_hot(target.argmax(-1), target.shape[1]).float() for target in targets]
    if recipe.with_easy:
        kept = torch.cat([easy.rows, kept])
        true = one_hot(easy.labels, soft.shape[1]).float()
        targets = [torch.cat([true, target]) for target in targets]
    batch = WeakBatch(
        soft=targets[0],
        member=torch.stack(targets[1:]) if loss.needs_members else None,
        group=difficulty_bins(difficulty[kept]) if loss.needs_groups else None,
    )
    weights, pace = mixture(recipe, soft.amax(-1), difficulty[kept])
    return Supervision(kept, batch, weights, pace), loss


def with_people(
    labelled: Labelled, member: Float[Tensor, "experts items classes"], people: Int[Tensor, " items"]
) -> tuple[Labelled, Float[Tensor, "experts items classes"]]:
    """People's answers in the place of the labels, as if every member had given them; no selection drops one.

    Args:
        people: the class that a person gave to each item, -1 where nobody did.
    """
    known = people >= 0
    answers = one_hot(people.clamp_min(0), labelled.soft.shape[1]).to(labelled.soft.dtype)
    labelled = Labelled(torch.where(known[:, None], answers, labelled.soft), labelled.keep | known)
    return labelled, torch.where(known[:, None], labelled.soft, member)


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
