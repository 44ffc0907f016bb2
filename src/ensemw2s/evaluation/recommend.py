"""Which condition to use, chosen on easy validation data alone, and how far it is from the others, in a sentence."""

from collections.abc import Sequence
from dataclasses import dataclass

from ensemw2s.config import Recipe
from ensemw2s.errors import RunError
from ensemw2s.evaluation.scored import ScoredSeed
from ensemw2s.evaluation.steadiness import can_tell_apart
from ensemw2s.names import BOOSTING, INDEPENDENT, SINGLE
from ensemw2s.results import Comparison, Interval, Row
from ensemw2s.results.conditions import AUTO, SELF, STRONG_ON_EASY, Condition, student


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


def recommended_row(rows: Sequence[Row], seeds: Sequence[ScoredSeed] = (), outside: Outside = Outside()) -> Row:
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
    if not candidates:
        raise RunError("no student was trained, so none can be recommended; list recipes in students.recipes")

    def score(row: Row) -> tuple[float, float]:
        val = row.parts["easy_val"]
        return val["accuracy"].interval.mean, -val["log_loss"].interval.mean

    taught = [row for row in candidates if outside.teach(row.condition)]
    plain = next((row for row in rows if row.condition == STRONG_ON_EASY), None)
    if taught and plain is not None:
        mine = max(taught, key=score)
        does_harm = score(mine) < score(plain) and can_tell_apart(seeds, mine.condition, STRONG_ON_EASY)
        return max(candidates, key=score) if does_harm else mine
    return max(candidates, key=score)


@dataclass(frozen=True)
class Rival:
    """What is to be used instead of the chosen row: a trivial baseline, or the best ensemble itself."""

    row: Row
    steadiness: tuple[float, float] | None = None
    """Its own and the chosen row's, where easy-val cannot tell them apart and this decided."""


def rival_of(
    rows: Sequence[Row], chosen: Row, seeds: Sequence[ScoredSeed] = (), outside: Outside = Outside()
) -> Rival | None:
    """What is to be used instead of the chosen row, if anything: a trivial baseline, or the ensemble that is best on
    easy-val.

    Where easy-val cannot tell the two apart, it is the one whose answers to the unlabelled examples hang less on which
    labelled examples were drawn (`evaluation/steadiness.py`); else, and where a run has one seed, the one with the
    higher mean accuracy on easy-val. An ensemble, which votes without outside voters, is no rival of a row that learned
    their votes.
    """

    def on_val(row: Row) -> float:
        return row.parts["easy_val"]["accuracy"].interval.mean

    found = list[Rival]()
    ensembles = [] if outside.teach(chosen.condition) else [r for r in rows if r.condition.kind == "ensemble"]
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


def is_baseline(chosen: Condition, auto_choices: Sequence[Condition], outside: Outside = Outside()) -> bool:
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


def headline(
    chosen: Row,
    comparisons: Sequence[Comparison],
    *,
    primary: str,
    is_random_split: bool = False,
    is_tiny: bool = False,
    auto_choices: Sequence[Condition] = (),
    rival: Rival | None = None,
    outside: Outside = Outside(),
) -> str:
    """What to use, its accuracy on the hard test, and how far it is from strong-on-easy, independent and single.

    Without a hard test the same is said of the easy one, and that the rest is unknown.

    Args:
        chosen: the recommended row.
        comparisons: of the run.
        primary: name of the first recipe, by which `auto` and boosting are compared with the other ensembles' students.
        is_random_split: no part is harder than another.
        is_tiny: the models are random.
        auto_choices: as in `is_baseline`.
        rival: what is to be used instead.
        outside: voters.
    """
    condition = chosen.condition
    test = "ood_test" if "ood_test" in chosen.parts else "id_test"
    difference_to = {(c.row, c.baseline): c.difference for c in comparisons if c.part == test}
    where = "held-out" if is_random_split else "hard" if test == "ood_test" else "easy"
    accuracy = _percent(chosen.parts[test]["accuracy"].interval)
    said = f"{_named(chosen)} ({_supervision(condition, auto_choices, outside)}): {accuracy} on the {where} test."
    text = f"Use {said}"
    if rival is not None:
        theirs = _percent(rival.row.parts[test]["accuracy"].interval)
        what = (
            f"no language model: {rival.row.label}"
            if rival.row.condition.is_trivial
            else f"the {rival.row.label} itself"
        )
        text = f"Use {what}, with {theirs} on the {where} test."
        if rival.steadiness is not None:
            own, other = rival.steadiness
            text += (
                f" Easy validation data cannot tell it from the best trained model, but its answers to the unlabelled "
                f"questions change less with the labelled ones that are drawn (kappa {own:.2f} against {other:.2f})."
            )
        best = "model" if rival.row.condition.is_trivial else "strong model"
        text += f" The best trained {best} is {said}"
    rivals = {STRONG_ON_EASY: "strong-on-easy"}
    if rival is not None:
        rivals = {rival.row.condition: rival.row.label} | rivals
    if condition.group == "student":
        recipe = condition.recipe or primary
        rivals[student(INDEPENDENT, recipe)] = "the independent ensemble's student"
        rivals[student(SINGLE, recipe)] = "the single weak expert's student"
    distances = [
        f"{_points(difference_to[condition.key, rival.key])} against {name}"
        for rival, name in rivals.items()
        if (condition.key, rival.key) in difference_to
    ]
    if distances:
        text += " That is " + ", ".join(distances) + "."
    boosted = student(BOOSTING, primary)
    gain = difference_to.get((boosted.key, student(SINGLE, primary).key))
    if gain is not None and condition != boosted:
        text += f" The boosted ensemble's student ({primary}) is {_points(gain)} against the single weak expert's."
    if test == "id_test":
        text += " There is no hard test: how it does on the unlabelled kind of question is unknown."
    if is_tiny:
        text += " The models are tiny and random: these figures mean nothing."
    return text


def _named(row: Row) -> str:
    """The row's label in a sentence."""
    if row.condition == AUTO:
        return "what auto chose on harder easy data"
    return row.label if row.condition.teacher == SELF else f"the {row.label}"


def _supervision(condition: Condition, auto_choices: Sequence[Condition], outside: Outside) -> str:
    """Whose labels the model learned."""
    if is_baseline(condition, auto_choices, outside):
        return "a baseline, no weak supervision"
    n_voters = outside.of(condition)
    voters = f"{n_voters} outside voter{'s' if n_voters > 1 else ''}"
    if condition == AUTO:
        n = sum(is_baseline(each, (), outside) for each in auto_choices)
        said = f"in {n} of {len(auto_choices)} seeds a baseline, no weak supervision"
        return said if n else "a student of weak labels in every seed"
    if condition.teacher == SELF:
        return f"supervised by itself and {voters}"
    said = "supervised by one weak expert" if condition.method == SINGLE else "supervised by the weak ensemble"
    return f"{said} and {voters}" if n_voters else said


def _percent(interval: Interval) -> str:
    return f"{100 * interval.mean:.1f}% [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _points(interval: Interval) -> str:
    return f"{100 * interval.mean:+.1f} points [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"
