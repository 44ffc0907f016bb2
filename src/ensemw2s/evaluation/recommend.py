"""Which condition to use, chosen on easy validation data alone."""

from collections.abc import Sequence
from dataclasses import dataclass

from ensemw2s.config import Recipe
from ensemw2s.errors import RunError
from ensemw2s.evaluation.scored import ScoredSeed
from ensemw2s.evaluation.steadiness import can_tell_apart
from ensemw2s.results import Row
from ensemw2s.results.conditions import AUTO, SELF, STRONG_ON_EASY, Condition
from ensemw2s.results.picks import best_on_val


def recommended_row(rows: Sequence[Row]) -> Row:
    """The row of `auto`; without one, the trained strong model with the best mean accuracy on easy-val.

    Ties go to the lower log loss. Students compete with strong-on-easy and self-training: where a baseline wins, the
    page says so.

    Raises:
        RunError: no student was trained.
    """
    candidates = [row for row in rows if row.condition.is_recommendable]
    for row in candidates:
        if row.condition == AUTO:
            return row
    best = best_on_val(candidates)
    if best is None:
        raise RunError("no student was trained, so none can be recommended; list recipes in students.recipes")
    return best


@dataclass(frozen=True)
class Rival:
    """What is to be used instead of the chosen row: a trivial baseline, or the best ensemble itself."""

    row: Row
    steadiness: tuple[float, float] | None = None
    """Its own and the chosen row's, where easy-val cannot tell them apart and this decided."""


def rival_of(rows: Sequence[Row], chosen: Row, seeds: Sequence[ScoredSeed] = ()) -> Rival | None:
    """What is to be used instead of the chosen row, if anything: a trivial baseline, or the ensemble that is best on
    easy-val.

    Where easy-val cannot tell the two apart, it is the one whose answers to the unlabelled examples hang less on which
    labelled examples were drawn (`evaluation/steadiness.py`); else, and where a run has one seed, the one with the
    higher mean accuracy on easy-val.
    """

    def on_val(row: Row) -> float:
        return row.parts["easy_val"]["accuracy"].interval.mean

    found = list[Rival]()
    best = max((row for row in rows if row.condition.kind == "ensemble"), key=on_val, default=None)
    for row in [*(row for row in rows if row.condition.is_trivial), *([] if best is None else [best])]:
        is_better, mine, theirs = on_val(row) > on_val(chosen), row.steadiness, chosen.steadiness
        if mine is None or theirs is None or can_tell_apart(seeds, row.condition, chosen.condition):
            found += [Rival(row)] if is_better else []
        elif mine > theirs:
            found.append(Rival(row, (mine, theirs)))

    def rank(rival: Rival) -> tuple[bool, float]:
        return rival.steadiness is None, on_val(rival.row) if rival.steadiness is None else rival.steadiness[0]

    return max(found, key=rank, default=None)


@dataclass(frozen=True)
class Outside:
    """The outside voters of a run."""

    n_voters: int = 0
    without: frozenset[str] = frozenset()
    """Names of the recipes that leave them out."""

    def of(self, condition: Condition) -> int:
        """How many voters have a part in what it learns."""
        return 0 if condition.recipe in self.without else self.n_voters


NOBODY = Outside()


def is_baseline(chosen: Condition, auto_choices: Sequence[Condition], outside: Outside = NOBODY) -> bool:
    """Whether the recommended condition needs no weak supervision.

    Args:
        chosen: the recommended condition.
        auto_choices: what `auto` stands for in each seed; empty without `auto`.
        outside: voters. Where there are some, self-training has weak supervision: theirs.
    """
    each = auto_choices if chosen == AUTO else (chosen,)
    return all(c.is_baseline and not (c.teacher == SELF and outside.of(c)) for c in each)


def learns_labels(condition: Condition, recipes: Sequence[Recipe]) -> bool:
    """Whether a condition's student learns labelled easy examples, which a last training may add to."""
    return condition == STRONG_ON_EASY or any(r.with_easy for r in recipes if r.name == condition.recipe)
