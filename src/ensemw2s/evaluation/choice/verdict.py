"""What a reader is told of the recommendation: a verdict of at most 25 words, and the figures behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ensemw2s.config import Recipe
from ensemw2s.evaluation.choice.recommend import NOBODY, Outside, Rival, is_baseline
from ensemw2s.names import BOOSTING, INDEPENDENT, SINGLE
from ensemw2s.results import Comparison, Interval, Row
from ensemw2s.results.conditions import AUTO, SELF, STRONG_ON_EASY, Condition, student
from ensemw2s.results.picks import best_student

MOST_WORDS = 25
BLIND = (
    "The choice was blind: it was made on easy validation data, before any test was opened, and a choice that looks at "
    "the test would be no fair estimate"
)


@dataclass(frozen=True)
class Standing:
    """What the verdict and its details are made of."""

    rows: Sequence[Row]
    chosen: Row
    """The recommended row."""
    comparisons: Sequence[Comparison]
    primary: Recipe
    """The first recipe, by which `auto` and boosting are compared with the other ensembles' students."""
    rival: Rival | None = None
    """What is to be used instead."""
    auto_choices: Sequence[Condition] = ()
    """What `auto` stands for in each seed."""
    outside: Outside = NOBODY
    n_seeds: int = 1
    is_random_split: bool = False
    """No part is harder than another."""
    is_tiny: bool = False
    """The models are random."""

    @property
    def used(self) -> Row:
        """The row to use."""
        return self.chosen if self.rival is None else self.rival.row

    @property
    def test(self) -> str:
        """The hardest test."""
        return "ood_test" if "ood_test" in self.chosen.parts else "id_test"

    @property
    def where(self) -> str:
        return "held-out" if self.is_random_split else "hard" if self.test == "ood_test" else "easy"

    @property
    def is_baseline(self) -> bool:
        """Whether the recommended row needs no weak supervision."""
        return is_baseline(self.chosen.condition, self.auto_choices, self.outside)

    @property
    def differences(self) -> Mapping[tuple[str, str], Interval]:
        """Row and baseline to their paired difference on the hardest test."""
        return {(c.row, c.baseline): c.difference for c in self.comparisons if c.part == self.test}

    def minus(self, row: Row, baseline: Row) -> Interval | None:
        """The paired difference of two rows; None where they are the same, or were not compared."""
        found = self.differences
        if (row.key, baseline.key) in found:
            return found[row.key, baseline.key]
        turned = found.get((baseline.key, row.key))
        return (
            None
            if turned is None
            else Interval(mean=-turned.mean, low=-turned.high, high=-turned.low, method=turned.method)
        )


def verdict(run: Standing) -> str:
    """What to use, how right it is, and whether weak supervision helped, in at most MOST_WORDS words."""
    right = f"{100 * run.used.parts[run.test]['accuracy'].interval.mean:.1f}% right on the {run.where} test."
    if run.used.condition.is_trivial:
        said = f"Use no language model: {run.used.who} is {right}"
    else:
        is_vote = run.used.condition.kind == "ensemble"  # else the name says that it is no student
        said = f"Use the {run.used.who}{' itself' if is_vote else ''}: {right}"
    versions = [f"{said} {effect}".strip() for effect in _effect(run)]
    return next((each for each in versions if len(each.split()) <= MOST_WORDS), said)


def _effect(run: Standing) -> list[str]:
    """Whether weak supervision helped on the hardest test, or what would have been a better choice there; the first
    that fits."""
    if run.is_tiny:
        return ["The models are tiny and random: these figures mean nothing.", "Tiny: these figures mean nothing."]
    if (better := _better(run)) is not None:
        name, _, gain = better
        why = f"{name} was {_size(gain)} better."
        return [f"Chosen blind on easy data: {why}", f"Chosen blind: {why}"]
    if run.rival is not None and run.rival.row.condition.is_trivial:
        return ["Weak supervision did not earn its cost."]
    row = best_student(run.rows) if run.is_baseline else run.chosen
    gains = [] if row is None else [run.minus(row, baseline) for _, baseline in _baselines(row, run)]
    gain = min((each for each in gains if each is not None), key=lambda each: each.mean, default=None)
    if gain is None:
        return [""]
    if gain.high < 0:
        return [f"Weak supervision cost {_size(gain)}."]
    if gain.low <= 0 or run.is_baseline or not _shows(gain):
        return ["Weak supervision made no clear difference."]
    return [f"Weak supervision added {_size(gain)}{' in its one seed' if run.n_seeds == 1 else ''}."]


def _baselines(row: Row, run: Standing) -> list[tuple[str, Row]]:
    """What a row that learned weak labels has to beat: strong-on-easy, and self-training under the same recipe, which
    learns no weak labels either unless outside voters have a part in it."""
    rows = {each.condition: each for each in run.rows}
    found = [("strong-on-easy", rows[STRONG_ON_EASY])] if STRONG_ON_EASY in rows else []
    alike = student(SELF, row.condition.recipe or run.primary.name)
    if alike in rows and not run.outside.of(alike):
        found.append(("self-training", rows[alike]))
    return found


def _better(run: Standing) -> tuple[str, Row, Interval] | None:
    """What was clearly better than the used row on the hardest test, of the few that compete by name.

    To search all rows for one would find a lucky one.
    """
    rivals = [
        *_baselines(run.chosen, run),
        ("the best student", best_student(run.rows)),
        ("the trained model", None if run.rival is None else run.chosen),
    ]
    found = list[tuple[str, Row, Interval]]()
    for name, row in rivals:
        gain = None if row is None or row == run.used else run.minus(row, run.used)
        if row is not None and gain is not None and gain.low > 0 and _shows(gain):
            found.append((name, row, gain))
    return max(found, key=lambda each: each[2].mean, default=None)


def _shows(gain: Interval) -> bool:
    """Whether anything of it is left when it is rounded."""
    return abs(gain.mean) >= 0.0005


def details(run: Standing) -> tuple[str, ...]:
    """Sentences with intervals: what is used and why, how far it is from what else there is, and what is unknown."""
    condition, said = run.chosen.condition, list[str]()
    if run.rival is not None:
        said += _why_rival(run.rival, run)
    trained = "The recommended model" if run.rival is None else "The best trained model"
    supervision = _supervision(condition, run.auto_choices, run.outside)
    said.append(f"{trained}: {run.chosen.label} ({supervision}), {_accuracy(run.chosen, run)}.")
    names = {STRONG_ON_EASY: "strong-on-easy"}
    if run.rival is not None:
        names = {run.rival.row.condition: run.rival.row.label} | names
    if condition.group == "student":
        recipe = condition.recipe or run.primary.name
        names[student(SELF, recipe)] = "self-training"
        names[student(INDEPENDENT, recipe)] = "the independent ensemble's student"
        names[student(SINGLE, recipe)] = "the single weak expert's student"
    distances = [
        f"{_points(run.differences[condition.key, other.key])} against {name}"
        for other, name in names.items()
        if (condition.key, other.key) in run.differences
    ]
    if distances:
        said.append(f"That is {', '.join(distances)}.")
    boosted = student(BOOSTING, run.primary.name)
    gain = run.differences.get((boosted.key, student(SINGLE, run.primary.name).key))
    if gain is not None and condition != boosted:
        said.append(f"The boosted ensemble's student is {_points(gain)} against the single weak expert's.")
    if (better := _better(run)) is not None:
        _, row, gain = better
        said.append(f"{BLIND}; on the {run.where} test this was better by {_points(gain)}: {row.label}.")
    if run.test == "id_test":
        said.append("There is no hard test: how it does on the unlabelled kind of question is unknown.")
    return tuple(said)


def _why_rival(rival: Rival, run: Standing) -> list[str]:
    said = [f"To use: {rival.row.label}, {_accuracy(rival.row, run)}."]
    if rival.steadiness is None:
        return [*said, "It is better than the best trained model on easy validation data."]
    own, other = rival.steadiness
    return [
        *said,
        "Easy validation data cannot tell it from the best trained model, but its answers to the unlabelled questions "
        f"change less with the labelled ones that are drawn (kappa {own:.2f} against {other:.2f}).",
    ]


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


def _accuracy(row: Row, run: Standing) -> str:
    interval = row.parts[run.test]["accuracy"].interval
    figures = f"{100 * interval.mean:.1f}% [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"
    return f"{figures} on the {run.where} test"


def _points(interval: Interval) -> str:
    return f"{100 * interval.mean:+.1f} points [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"


def _size(interval: Interval) -> str:
    return f"{100 * abs(interval.mean):.1f} points"
