"""How the trainings behind each row of a run's table ended."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ensemw2s.results import Results, Row
from ensemw2s.training_end import TrainingEnd

MARK = "°"
"""Behind the label of a row of which a model did not converge."""
MEANING = f"{MARK} a model of this row did not converge: training it longer may change the row"
UNKNOWN = "unknown"
WORDS = {
    "converged": "at the optimum",
    "gave_up": "short of the optimum",
    "stopped_early": "stopped early",
    "all_epochs": "took all epochs",
    UNKNOWN: UNKNOWN,
}


@dataclass(frozen=True)
class TrainingLine:
    """The trainings of one row, of all seeds, as text: means over them, or from the least to the most."""

    label: str
    ended: str
    converged: str
    epochs: str
    steps: str
    loss: str
    accuracy: str
    validation_loss: str


def mark(row: Row) -> str:
    """MARK where a model of the row is known not to have converged."""
    return MARK if row.converged is False else ""


def training_lines(results: Results) -> list[TrainingLine]:
    """Of every row with a trained model, in the order of the results."""
    return [_line(row) for row in results.rows if row.trainings]


def _line(row: Row) -> TrainingLine:
    ends = [end for end in row.trainings if end is not None]
    return TrainingLine(
        label=row.label + mark(row),
        ended=_endings(row.trainings),
        converged=f"{sum(end.converged for end in ends)} of {len(row.trainings)}" if ends else UNKNOWN,
        epochs=_range(end.epochs for end in ends),
        steps=_range(end.steps for end in ends),
        loss=_mean(end.training_loss for end in ends),
        accuracy=_mean((end.training_accuracy for end in ends), percent=True),
        validation_loss=_mean(end.validation_loss for end in ends),
    )


def _endings(trainings: Sequence[TrainingEnd | None]) -> str:
    counts = Counter(UNKNOWN if end is None else end.ended for end in trainings)
    if len(counts) == 1:
        return WORDS[next(iter(counts))]
    return ", ".join(f"{n} {WORDS[ended]}" for ended, n in counts.most_common())


def _range(values: Iterable[int | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    return f"{min(known):,}" if min(known) == max(known) else f"{min(known):,}–{max(known):,}"


def _mean(values: Iterable[float | None], *, percent: bool = False) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    mean = sum(known) / len(known)
    return f"{100 * mean:.1f}" if percent else f"{mean:.3f}"
