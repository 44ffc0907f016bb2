"""What a tracker is told, whether a run goes on or is finished: its rounds, its students, the rows of its table."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ensemw2s.core.sampling import effective_sample_size
from ensemw2s.records import Expert
from ensemw2s.results import Condition, Results, Row
from ensemw2s.training_end import TrainingEnd

TRAINED = ("strong_on_easy", "strong_on_easy_augmented", "self_training", "student", "ceiling")
"""Kinds of conditions of which each seed trains a strong model."""
OF_A_TRAINING = ("steps", "training_loss", "training_accuracy", "validation_loss")


@dataclass(frozen=True)
class Entry:
    """Figures that come together."""

    name: str
    """Unique in its run, by which nothing is told twice."""
    step: int
    """The round; that after the last for what is no round's."""
    metrics: Mapping[str, float]


def of_expert(seed: int, expert: Expert) -> Entry:
    """A round as soon as its expert is there."""
    figures = {
        "weighted_error": expert.weighted_error,
        "expert_weight": expert.expert_weight,
        "effective_sample_size": effective_sample_size(expert.sample_weights),
    }
    return _round(expert.method, seed, expert.round, figures, expert.end)


def of_student(seed: int, condition: Condition, end: TrainingEnd | None, step: int) -> Entry:
    """How the training of a strong model ended."""
    place = f"trainings/{condition.key}/seed-{seed}"
    return Entry(place, step, _training(place, end))


def of_results(results: Results) -> Iterator[Entry]:
    """Everything, with what a run told before it was finished under the names that it had then."""
    traces = results.ensembles
    for trace in traces:
        for r in trace.rounds:
            figures = r.model_dump(include={"weighted_error", "expert_weight", "effective_sample_size"})
            yield _round(trace.method, trace.seed, r.round, figures, r.training)
    last = 1 + max((r.round for trace in traces for r in trace.rounds), default=-1)
    for row in results.rows:
        for seed, end in zip(results.seeds, _own_trainings(row, len(results.seeds)), strict=False):
            yield of_student(seed, row.condition, end, last)
    for step in range(last):
        metrics: dict[str, float] = {}
        for trace in traces:
            for r in trace.rounds:
                if r.round == step:
                    place = f"rounds/{trace.method}/seed-{trace.seed}"
                    metrics |= {f"{place}/member_accuracy/{part}": v for part, v in r.member_accuracy.items()}
                    metrics |= {f"{place}/ensemble_accuracy/{part}": v for part, v in r.ensemble_accuracy.items()}
        yield Entry(f"accuracies/{step}", step, metrics)
    yield Entry("rows", last, dict(_figures(results)))


def _round(method: str, seed: int, step: int, figures: Mapping[str, float], end: TrainingEnd | None) -> Entry:
    place = f"rounds/{method}/seed-{seed}"
    metrics = {f"{place}/{name}": value for name, value in figures.items()}
    return Entry(f"{place}/{step}", step, metrics | _training(place, end))


def _training(place: str, end: TrainingEnd | None) -> dict[str, float]:
    figures = {} if end is None else {name: getattr(end, name) for name in OF_A_TRAINING}
    return {f"{place}/{name}": float(value) for name, value in figures.items() if value is not None}


def _own_trainings(row: Row, n_seeds: int) -> tuple[TrainingEnd | None, ...]:
    """Of each seed the training of the row's own model, the last of its trainings; empty of what is not trained."""
    if row.condition.kind not in TRAINED or len(row.trainings) % n_seeds:
        return ()
    n_each = len(row.trainings) // n_seeds
    return row.trainings[n_each - 1 :: n_each] if n_each else ()


def _figures(results: Results) -> Iterator[tuple[str, float]]:
    """Every figure of every row of the table, with its interval over seeds and items."""
    for row in results.rows:
        for part, figures in row.parts.items():
            for metric, figure in figures.items():
                place = f"rows/{row.key}/{part}/{metric}"
                yield place, figure.interval.mean
                yield f"{place}_low", figure.interval.low
                yield f"{place}_high", figure.interval.high
