"""Which condition to use, chosen on easy validation data alone."""

from collections.abc import Sequence
from dataclasses import dataclass

from ensemw2s.config import Recipe
from ensemw2s.errors import RunError
from ensemw2s.evaluation.choice.steadiness import can_tell_apart
from ensemw2s.evaluation.scored import ScoredSeed
from ensemw2s.results import Row
from ensemw2s.results.conditions import AUTO, SELF, STRONG_ON_EASY, Condition
from ensemw2s.results.picks import best_on_val


@dataclass(frozen=True)
class Outside:
    """The outside voters of a run."""

    n_voters: int = 0
    without: frozenset[str] = frozenset()
    """Names of the recipes that leave them out."""
    are_believed: bool = False
    """Whether one of them was found to know more than chance."""

    def of(self, condition: Condition) -> int:
        """How many voters have a part in what it learns."""
        return 0 if condition.recipe in self.without else self.n_voters

    def teach(self, condition: Condition) -> bool:
        """Whether it learns the votes of voters that are believed."""
        return self.are_believed and condition.recipe is not None and self.of(condition) > 0


NOBODY = Outside()


def recommended_row(rows: Sequence[Row], seeds: Sequence[ScoredSeed] = (), outside: Outside = NOBODY) -> Row:
    """The row of `auto`; without one, the trained strong model with the best mean accuracy on easy-val.

    Ties go to the lower log loss. Students compete with strong-on-easy and self-training: where a baseline wins, the
    page says so. What votes of people on hard questions are worth, easy-val cannot say, for it has no hard question. So
    where voters are believed, the choice is among the rows that learned their votes, unless these did harm: easy-val
    tells the best of them from strong-on-easy, to its disadvantage.

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
    taught = best_on_val(row for row in candidates if outside.teach(row.condition))
    plain = next((row for row in rows if row.condition == STRONG_ON_EASY), None)
    if taught is None or plain is None:
        return best
    is_worse = best_on_val((plain, taught)) is plain
    return best if is_worse and can_tell_apart(seeds, taught.condition, STRONG_ON_EASY) else taught


@dataclass(frozen=True)
class Rival:
    """What is to be used instead of the chosen row: a trivial baseline, or the best ensemble itself."""

    row: Row
    steadiness: tuple[float, float] | None = None
    """Its own and the chosen row's, where easy-val cannot tell them apart and this decided."""


def rival_of(
    rows: Sequence[Row], chosen: Row, seeds: Sequence[ScoredSeed] = (), outside: Outside = NOBODY
) -> Rival | None:
    """What is to be used instead of the chosen row, if anything: a trivial baseline, or the ensemble that is best on
    easy-val.

    Where easy-val cannot tell the two apart, it is the one whose answers to the unlabelled examples hang less on which
    labelled examples were drawn (`steadiness.py`); else, and where a run has one seed, the one with the higher mean
    accuracy on easy-val. An ensemble, which votes without outside voters, is no rival of a row that learned their
    votes.
    """

    def on_val(row: Row) -> float:
        return row.parts["easy_val"]["accuracy"].interval.mean

    found = list[Rival]()
    ensembles = [] if outside.teach(chosen.condition) else [r for r in rows if r.condition.is_ensemble]
    best = max(ensembles, key=on_val, default=None)
    for row in [*(row for row in rows if row.condition.is_trivial), *([] if best is None else [best])]:
        is_better, mine, theirs = on_val(row) > on_val(chosen), row.steadiness, chosen.steadiness
        if mine is None or theirs is None or can_tell_apart(seeds, row.condition, chosen.condition):
            found += [Rival(row)] if is_better else []
        elif mine > theirs:
            found.append(Rival(row, (mine, theirs)))

    def rank(rival: Rival) -> tuple[bool, float]:
        return rival.steadiness is None, on_val(rival.row) if rival.steadiness is None else rival.steadiness[0]

    return max(found, key=rank, default=None)


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
