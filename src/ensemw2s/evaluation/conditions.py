"""The conditions of a run, in the order of the table, with what a reader sees of each."""

from collections.abc import Sequence
from dataclasses import dataclass

from ensemw2s.config import StudentConfig
from ensemw2s.results.conditions import (
    AUTO,
    BEST_SINGLE,
    CEILING,
    MAJORITY,
    NEAREST,
    SELF,
    SINGLE_LONG,
    STRONG_ON_EASY,
    TFIDF,
    TFIDF_SELF_TRAINED,
    ZERO_SHOT,
    Condition,
    ensemble,
    student,
)
from ensemw2s.tables import METHODS


@dataclass(frozen=True)
class NamedCondition:
    """A condition with its label in the table."""

    condition: Condition
    label: str


def all_conditions(methods: Sequence[str], students: StudentConfig) -> list[NamedCondition]:
    """Every condition that a run may have, in the order of the table."""
    found = [
        NamedCondition(MAJORITY, "majority class"),
        NamedCondition(TFIDF, "TF-IDF and logistic regression on easy labels"),
        NamedCondition(TFIDF_SELF_TRAINED, "TF-IDF and logistic regression, self-trained"),
        NamedCondition(NEAREST, "answer of the nearest easy question (TF-IDF)"),
        NamedCondition(ZERO_SHOT, "strong model, zero-shot"),
        NamedCondition(BEST_SINGLE, "best single expert (by easy-val)"),
        NamedCondition(SINGLE_LONG, "one expert at T times the budget"),
        *(NamedCondition(ensemble(m), METHODS[m].label) for m in methods),
        NamedCondition(STRONG_ON_EASY, "strong model on easy labels"),
    ]
    for teacher, recipe in students.pairs(methods):
        source = "self-training" if teacher == SELF else f"student of the {METHODS[teacher].label}"
        found.append(NamedCondition(student(teacher, recipe.name), f"{source}, {recipe.name}"))
    if students.method == "auto":
        found.append(NamedCondition(AUTO, "chosen by auto on harder easy data"))
    return [*found, NamedCondition(CEILING, "ceiling: strong model on the true hard labels")]
