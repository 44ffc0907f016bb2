"""Which rows stand for a run where not all can be shown. Like every choice, these are made on easy-val alone."""

from collections.abc import Iterable, Sequence

from ensemw2s.names import BOOSTING
from ensemw2s.results.conditions import BEST_SINGLE, CEILING, MAJORITY, SINGLE, STRONG_ON_EASY, TFIDF, ensemble
from ensemw2s.results.rows import Row
from ensemw2s.results.run import Results


def best_on_val(rows: Iterable[Row]) -> Row | None:
    """The row with the best mean accuracy on easy-val, ties to the lower log loss; None of none."""

    def score(row: Row) -> tuple[float, float]:
        val = row.parts["easy_val"]
        return val["accuracy"].interval.mean, -val["log_loss"].interval.mean if "log_loss" in val else float("-inf")

    return max(rows, key=score, default=None)


def best_student(rows: Iterable[Row]) -> Row | None:
    """The best student of weak labels."""
    return best_on_val(row for row in rows if row.kind == "student")


def main_rows(results: Results) -> list[tuple[str, Row]]:
    """What a reader compares first, at most eight rows, each with the part that it plays."""
    rows = {row.condition: row for row in results.rows}
    used = results.row(results.recommendation.rival or results.recommendation.row)
    students = best_student(results.rows)
    teacher = None if students is None or students.condition.method is None else ensemble(students.condition.method)
    wanted: list[tuple[str, Row | None]] = [
        ("majority", rows.get(MAJORITY)),
        ("TF-IDF", rows.get(TFIDF)),
        ("best weak expert", rows.get(BEST_SINGLE, rows.get(SINGLE))),
        ("ensemble", _ensemble(results.rows, teacher and rows.get(teacher), rows.get(ensemble(BOOSTING)))),
        ("strong on easy", rows.get(STRONG_ON_EASY)),
        ("best student", students),
        ("recommended", used),
        ("ceiling", rows.get(CEILING)),
    ]
    found: dict[str, tuple[str, Row]] = {}
    for part, row in wanted:
        if row is not None:
            found.setdefault(row.key, (part, row))
    return list(found.values())


def _ensemble(rows: Sequence[Row], *preferred: Row | None) -> Row | None:
    """The first of these that has several members, or the best ensemble that has."""
    several = [row for row in rows if row.condition.kind == "ensemble" and row.condition != SINGLE]
    return next((row for row in preferred if row is not None and row in several), best_on_val(several))
