"""Which row to use, chosen on easy validation data alone, and one sentence that says how far it is from the rest."""

from collections.abc import Sequence

from ensemw2s.config import ExperimentConfig
from ensemw2s.errors import RunError
from ensemw2s.names import BOOSTING, INDEPENDENT, SINGLE
from ensemw2s.pipeline.rows import AUTO
from ensemw2s.pipeline.students import STRONG_ON_EASY, student_key
from ensemw2s.results import Comparison, Interval, Row


def recommended_row(rows: Sequence[Row]) -> Row:
    """The row of `auto`; without one the trained strong model with the best mean accuracy on easy-val.

    Ties go to the lower log loss.

    Students compete with strong-on-easy and self-training: where a baseline wins, the page says so.
    """
    candidates = [
        r for r in rows if r.kind == "student" or r.key == STRONG_ON_EASY or r.key.startswith("self_training:")
    ]
    for row in candidates:
        if row.key == AUTO:
            return row
    if not candidates:
        raise RunError("no student was trained, so none can be recommended; list recipes in students.recipes")

    def score(row: Row) -> tuple[float, float]:
        val = row.parts["easy_val"]
        return val["accuracy"].interval.mean, -val["log_loss"].interval.mean

    return max(candidates, key=score)


def is_baseline(chosen: Row, taken: Sequence[str]) -> bool:
    """Whether the recommended row needs no weak supervision.

    Args:
        taken: the row that `auto` stands for in each seed; empty without `auto`.
    """
    return chosen.kind == "baseline" or (chosen.key == AUTO and all(map(_is_baseline, taken)))


def headline(
    chosen: Row, comparisons: Sequence[Comparison], config: ExperimentConfig, taken: Sequence[str] = ()
) -> str:
    """What to use, its accuracy on the hard test, and how far it lies from strong-on-easy, independent and single.

    Without a hard test the same is said of the easy one, and that the rest is unknown. `taken` as in `is_baseline`.
    """
    primary = config.students.recipes[0]
    test = "ood_test" if "ood_test" in chosen.parts else "id_test"
    interval = chosen.parts[test]["accuracy"].interval
    where = "held-out" if config.split.kind == "random" else "hard" if test == "ood_test" else "easy"
    text = f"Use {_named(chosen)} ({_supervision(chosen, taken)}): {_percent(interval)} on the {where} test."
    distances = []
    others = {STRONG_ON_EASY: "strong-on-easy"}
    recipe = chosen.key.rpartition(":")[2]
    if chosen.kind == "student":
        others |= {
            f"student:{m}:{recipe}": f"the {m} ensemble's student"
            if m != SINGLE
            else "the single weak expert's student"
            for m in (INDEPENDENT, SINGLE)
        }
    for key, name in others.items():
        found = [c for c in comparisons if (c.row, c.baseline, c.part) == (chosen.key, key, test)]
        distances += [f"{_points(c.difference)} against {name}" for c in found]
    boosted = student_key(BOOSTING, primary)
    gain = [c for c in comparisons if (c.row, c.baseline, c.part) == (boosted, student_key(SINGLE, primary), test)]
    if distances:
        text += " That is " + ", ".join(distances) + "."
    if gain and chosen.key != boosted:
        difference = _points(gain[0].difference)
        text += f" The boosted ensemble's student ({primary.name}) is {difference} against the single weak expert's."
    if test == "id_test":
        text += " There is no hard test: how it does on the unlabelled kind of question is unknown."
    if config.is_tiny:
        text += " The models are tiny and random: these figures mean nothing."
    return text


def _named(row: Row) -> str:
    """The row's label in a sentence."""
    if row.key == AUTO:
        return "what auto chose on harder easy data"
    return row.label if row.key.startswith("self_training:") else f"the {row.label}"


def _supervision(row: Row, taken: Sequence[str]) -> str:
    """Whose labels the row's model learned."""
    if is_baseline(row, taken):
        return "a baseline, no weak supervision"
    if row.key == AUTO and (n := sum(map(_is_baseline, taken))):
        return f"in {n} of {len(taken)} seeds a baseline, no weak supervision"
    if row.key == AUTO:
        return "a student of weak labels in every seed"
    return (
        "supervised by one weak expert"
        if row.key.startswith(f"student:{SINGLE}:")
        else "supervised by the weak ensemble"
    )


def _is_baseline(key: str) -> bool:
    return key == STRONG_ON_EASY or key.startswith("self_training:")


def _percent(interval: Interval) -> str:
    return f"{100 * interval.mean:.1f}% [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _points(interval: Interval) -> str:
    return f"{100 * interval.mean:+.1f} points [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"
