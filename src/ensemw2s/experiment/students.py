"""Which students a seed trains. A student, a baseline and the ceiling are one training with other labels."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from ensemw2s.config import Recipe, StudentConfig
from ensemw2s.core.losses import CrossEntropy, LogConf, WeakBatch, WeakToStrongLoss
from ensemw2s.train.loop import Supervision

STRONG_ON_EASY = "strong_on_easy"
CEILING = "ceiling"
SELF = "self"
"""The teacher that is strong-on-easy itself: self-training."""
_LOSSES: dict[str, Callable[[StudentConfig], WeakToStrongLoss]] = {
    "xent": lambda config: CrossEntropy(),
    "logconf": lambda config: LogConf(aux_coef=config.aux_coef, warmup_frac=config.warmup_frac),
}
TRUTH = Recipe(loss="xent", labels="hard")
"""How the strong model learns from true labels: strong-on-easy and the ceiling."""


def student_key(teacher: str, recipe: Recipe) -> str:
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


def on_labels(
    teacher: str,
    soft: Float[Tensor, "hard classes"],
    hard_rows: Int[Tensor, " hard"],
    easy_rows: Int[Tensor, " easy"],
    easy_labels: Int[Tensor, " easy"],
    config: StudentConfig,
) -> Iterator[Lesson]:
    """One lesson per recipe from one teacher's labels; `with_easy` adds the true easy labels, every example alike."""
    n_classes = soft.shape[1]
    for recipe in config.recipes:
        targets = soft if recipe.labels == "soft" else one_hot(soft.argmax(-1), n_classes).float()
        rows = hard_rows
        if recipe.with_easy:
            rows = torch.cat([easy_rows, hard_rows])
            targets = torch.cat([one_hot(easy_labels, n_classes).float(), targets])
        supervision = Supervision(rows, WeakBatch(soft=targets), torch.ones(len(rows)))
        yield Lesson(student_key(teacher, recipe), supervision, _LOSSES[recipe.loss](config))
