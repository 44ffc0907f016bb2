"""`deliver.refit`: the exported student is trained once more, on every label that it may learn.

What is labelled also validates and tests, and of that the measured student learned nothing. Once all is chosen and
measured it may. Nothing is chosen again: recipe, size of the ensemble and pseudo-labels stand, and the penalty of `l2:
auto`, the pooling of `pooling: auto` and the epoch that `patience` kept are those that were chosen without these
examples. The labels of the hard test stay sealed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ensemw2s.config import TrainConfig
from ensemw2s.forms.prepared import Labels
from ensemw2s.pipeline.seeds.seed_work import Outcome, SeedWork
from ensemw2s.pipeline.seeds.students import student_stream, trained, weak_start
from ensemw2s.results import Results
from ensemw2s.training_end import TrainingEnd


def exported(results: Results, seeds: Sequence[SeedWork]) -> tuple[SeedWork, Any]:
    """The recommended student of its best seed as the one who answers, trained once more where that was asked for.

    In a launch of several processes all must call this, because they may train together.
    """
    work = next(w for w in seeds if w.seed == results.recommendation.seed)
    outcome = work.outcomes[results.row(results.recommendation.row).condition]
    if results.recommendation.refit_on is None:
        return work, outcome.voters
    assert outcome.training_on is not None, "only students that learn labels are trained once more"
    training_set = work.form.students.read_alike(outcome.training_on(all_labels(work)), outcome.voters)
    training_set = replace(training_set, training=_settled(work, outcome, training_set.training))
    key, artifact = trained(work, training_set)
    voters = work.form.students.voters(training_set, artifact, key)
    if outcome.second is None or not outcome.second.is_kept:
        return work, voters
    lessons, record = work.form.lessons, outcome.second.record
    assert lessons is not None
    assert record is not None
    lesson = lessons.again(outcome.second.lesson, voters, _as_ended(outcome.second.lesson.training, record))
    key, artifact = trained(work, lesson, lessons)
    return work, lessons.voters(lesson, artifact, key)


def all_labels(work: SeedWork) -> Labels:
    """Every labelled example but those of the hard test."""
    split = work.prepared.split
    rows = torch.tensor([*split.pools["easy_pool"], *split.pools["id_test"]])
    tested = split.sealed["id_test"].open("refit")
    if isinstance(tested, Tensor):
        return Labels(rows, torch.cat([split.easy_labels, tested]))
    return Labels(rows, (*split.easy_answers, *tested))


def _settled(work: SeedWork, outcome: Outcome, training: TrainConfig) -> TrainConfig:
    """These settings, with what the measured student's validation data chose: the penalty, or when to end."""
    if training.patience is None and (not training.is_fitted or training.l2 != "auto"):
        return training
    assert outcome.record is not None
    end = TrainingEnd.of(outcome.record)
    if end is None:  # an older store does not say, and the same training chooses the same
        assert outcome.training_on is not None
        training_set = outcome.training_on(None)
        start = [expert.state for expert in weak_start(work).values()]
        artifact = work.form.students.fit(training_set, seed=student_stream(work), checkpointer=None, start=start)
        end = TrainingEnd.of(artifact.record)
        assert end is not None
    if training.patience is not None:
        return _as_ended(training, end.record)
    return training.model_copy(update={"l2": end.l2})


def _as_ended(training: TrainConfig, record: Mapping[str, Any]) -> TrainConfig:
    """Steps for as many epochs as the measured training kept."""
    end = TrainingEnd.of(record)
    if training.patience is None or end is None:
        return training
    return training.model_copy(update={"patience": None, "epochs": end.kept_epoch})
