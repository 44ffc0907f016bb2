"""The rows of the table: their keys, what a reader sees, and one seed's predictions for each."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.config import StudentConfig
from ensemw2s.data.splits import Draw
from ensemw2s.ensemble.label import Ensemble
from ensemw2s.pipeline.students import CEILING, SELF, STRONG_ON_EASY, student_key
from ensemw2s.results import Cost, RowKind
from ensemw2s.tables import METHODS

ZERO_SHOT = "zero_shot"
BEST_SINGLE = "best_single"
SINGLE_LONG = "single_long"
AUTO = "auto"
"""The student that a rule picks on easy data alone, seed by seed."""


@dataclass(frozen=True)
class Named:
    """A row before it has figures."""

    key: str
    label: str
    kind: RowKind
    teacher: str | None = None
    """Whose labels a student learned: a method, or `self`."""
    recipe: str | None = None


def all_rows(methods: tuple[str, ...], students: StudentConfig) -> list[Named]:
    """Every row of a run, in the order of the table."""
    rows = [
        Named(ZERO_SHOT, "strong model, zero-shot", "baseline"),
        Named(BEST_SINGLE, "best single expert (by easy-val)", "ensemble"),
        Named(SINGLE_LONG, "one expert at T times the budget", "ensemble"),
        *(Named(m, METHODS[m].label, "ensemble") for m in methods),
        Named(STRONG_ON_EASY, "strong model on easy labels", "baseline"),
    ]
    for teacher, recipe in students.pairs(methods):
        source = "self-training" if teacher == "self" else f"student of the {METHODS[teacher].label}"
        kind: RowKind = "baseline" if teacher == SELF else "student"
        rows.append(Named(student_key(teacher, recipe), f"{source}, {recipe.name}", kind, teacher, recipe.name))
    if students.method == "auto":
        rows.append(Named(AUTO, "chosen by auto on harder easy data", "student"))
    return [*rows, Named(CEILING, "ceiling: strong model on the true hard labels", "ceiling")]


@dataclass
class SeedOutcome:
    """What one seed's stages produced: the evaluation turns these into figures."""

    seed: int
    draw: Draw
    val_labels: Int[Tensor, " val"]
    ensembles: dict[str, Ensemble] = field(default_factory=dict)
    chosen: str | None = None
    """Row that `auto` stands for."""
    log_probs: dict[str, Mapping[str, Float[Tensor, "_ classes"]]] = field(default_factory=dict)
    """Row to part (easy_val, id_test, ood_test) to log-probabilities."""
    cost: dict[str, Cost] = field(default_factory=dict)
    n_experts: dict[str, int] = field(default_factory=dict)
    student_keys: dict[str, str] = field(default_factory=dict)
    """Row to the key of its trained student in the store."""
    student_links: dict[str, str] = field(default_factory=dict)
    """Row to how its student's logits are read: a name in the table of links."""
