"""Which row to use, chosen on easy validation data alone, and one sentence that says how far it is from the rest."""

from collections.abc import Sequence

from ensemw2s.config import ExperimentConfig
from ensemw2s.errors import RunError
from ensemw2s.experiment.rows import AUTO
from ensemw2s.experiment.students import STRONG_ON_EASY, student_key
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


def headline(chosen: Row, rows: Sequence[Row], comparisons: Sequence[Comparison], config: ExperimentConfig) -> str:
    """What to use, its accuracy on the hard test, and how far it lies from strong-on-easy, independent and single.

    Without a hard test the same is said of the easy one, and that the rest is unknown.
    """
    primary = config.students.recipes[0]
    test = "ood_test" if "ood_test" in chosen.parts else "id_test"
    interval = chosen.parts[test]["accuracy"].interval
    kind = "a baseline, no weak supervision" if chosen.kind == "baseline" else "supervised by the weak ensemble"
    where = "held-out" if config.split.kind == "random" else "hard" if test == "ood_test" else "easy"
    text = f"Use {chosen.label} ({kind}): {_percent(interval)} on the {where} test."
    distances = []
    others = {STRONG_ON_EASY: "strong-on-easy"}
    recipe = chosen.key.rpartition(":")[2]
    if chosen.kind == "student":
        others |= {
            f"student:{m}:{recipe}": f"the {m} ensemble's student"
            if m != "single"
            else "the single weak expert's student"
            for m in ("independent", "single")
        }
    for key, name in others.items():
        found = [c for c in comparisons if (c.row, c.baseline, c.part) == (chosen.key, key, test)]
        distances += [f"{_points(c.difference)} against {name}" for c in found]
    boosted = student_key("boosting", primary)
    gain = [c for c in comparisons if (c.row, c.baseline, c.part) == (boosted, student_key("single", primary), test)]
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


def _percent(interval: Interval) -> str:
    return f"{100 * interval.mean:.1f}% [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _points(interval: Interval) -> str:
    return f"{100 * interval.mean:+.1f} points [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"
