"""A condition: one way to get a model, and so one row of the table."""

from dataclasses import dataclass
from typing import Literal

from ensemw2s import names

ConditionKind = Literal[
    "majority",
    "tfidf",
    "tfidf_self_trained",
    "nearest_answer",
    "zero_shot",
    "in_context",
    "best_of_n",
    "majority_of_n",
    "best_single",
    "single_long",
    "ensemble",
    "merged",
    "strong_on_easy",
    "strong_on_easy_augmented",
    "self_training",
    "student",
    "auto",
    "ceiling",
]
RowKind = Literal["baseline", "ensemble", "student", "shown", "ceiling"]
SELF = "self"
"""The teacher that is the strong model itself, trained on the easy labels."""
_GROUPS: dict[ConditionKind, RowKind] = {
    "best_single": "ensemble",
    "single_long": "ensemble",
    "ensemble": "ensemble",
    "merged": "ensemble",
    "student": "student",
    "auto": "student",
    "in_context": "shown",
    "best_of_n": "shown",
    "majority_of_n": "shown",
    "ceiling": "ceiling",
}


@dataclass(frozen=True)
class Condition:
    """One way to get a model."""

    kind: ConditionKind
    method: str | None = None
    """`ensemble`: the ensemble method; `student` and `in_context`: the method whose labels are learned or shown;
    `merged`: that whose members became one model; `best_of_n` and `majority_of_n`: the teacher of the student whose
    samples are chosen among, `self` included; None is the strong model on easy labels."""
    recipe: str | None = None
    """`student` and `self_training`: how the labels are learned; of `best_of_n` and `majority_of_n` its student's."""
    merge: str | None = None
    """`merged`: how they did."""

    @property
    def key(self) -> str:
        """A name that is unique among the conditions of a run; nobody reads its parts."""
        parts = [self.method] if self.kind == "ensemble" else [self.kind, self.merge, self.method, self.recipe]
        return ":".join(part for part in parts if part is not None)

    @property
    def group(self) -> RowKind:
        """Under which heading its row stands."""
        return _GROUPS.get(self.kind, "baseline")

    @property
    def teacher(self) -> str | None:
        """Whose labels it learns: an ensemble method, `self`, or None where it learns no pseudo-labels."""
        return SELF if self.kind == "self_training" else self.method if self.kind == "student" else None

    @property
    def is_ensemble(self) -> bool:
        """Whether it is an ensemble itself, voting or merged, as one is exported."""
        return self.kind in ("ensemble", "merged")

    @property
    def is_recommendable(self) -> bool:
        """Whether it may be recommended: students, and baselines that train the strong model."""
        return self.kind in ("strong_on_easy", "self_training", "student", "auto")

    @property
    def is_trivial(self) -> bool:
        """Whether it needs no language model."""
        return self in TRIVIAL

    @property
    def is_baseline(self) -> bool:
        """Whether it needs no weak supervision."""
        return self.group == "baseline"


MAJORITY = Condition(kind="majority")
TFIDF = Condition(kind="tfidf")
TFIDF_SELF_TRAINED = Condition(kind="tfidf_self_trained")
NEAREST = Condition(kind="nearest_answer")
TRIVIAL = (MAJORITY, TFIDF, TFIDF_SELF_TRAINED, NEAREST)
"""What needs no language model; any other row that is not above these is not worth its cost."""
ZERO_SHOT = Condition(kind="zero_shot")
BEST_SINGLE = Condition(kind="best_single")
SINGLE_LONG = Condition(kind="single_long")
STRONG_ON_EASY = Condition(kind="strong_on_easy")
AUGMENTED = Condition(kind="strong_on_easy_augmented")
"""Strong-on-easy with the hardest of perturbed copies."""
AUTO = Condition(kind="auto")
"""The student that a rule chooses on easy data alone, seed by seed."""
CEILING = Condition(kind="ceiling")
SINGLE = Condition(kind="ensemble", method=names.SINGLE)
"""One weak expert: what gap recovered is counted from."""


def ensemble(method: str) -> Condition:
    """The ensemble of a method itself."""
    return Condition(kind="ensemble", method=method)


def merged(method: str, merge: str) -> Condition:
    """The one model that a merge makes of a method's members."""
    return Condition(kind="merged", method=method, merge=merge)


def in_context(method: str) -> Condition:
    """The untrained strong model that is shown some of a method's labels before each question."""
    return Condition(kind="in_context", method=method)


BEST_OF_N: ConditionKind = "best_of_n"
MAJORITY_OF_N: ConditionKind = "majority_of_n"


def chosen_of_n(kind: ConditionKind, teacher: str | None = None, recipe: str | None = None) -> Condition:
    """A trained model of which one of several drawn answers is chosen; without a teacher strong-on-easy."""
    return Condition(kind=kind, method=teacher, recipe=recipe)


def student(teacher: str, recipe: str) -> Condition:
    """The student of a teacher's labels under a recipe, both by name."""
    if teacher == SELF:
        return Condition(kind="self_training", recipe=recipe)
    return Condition(kind="student", method=teacher, recipe=recipe)
