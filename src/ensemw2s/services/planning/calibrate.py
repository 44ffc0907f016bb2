"""How fast this machine does each kind of work: the run's own functions on a few of its own examples."""

import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import one_hot

from ensemw2s.config import TrainConfig
from ensemw2s.core import intervals
from ensemw2s.core.losses import CrossEntropy, WeakBatch
from ensemw2s.core.seeds import stream
from ensemw2s.ensemble.contexts import REASONS
from ensemw2s.ensemble.words.scores import score_answers
from ensemw2s.forms.base import Prepared
from ensemw2s.forms.classification.prepare import ClassPrepared
from ensemw2s.forms.generation.prepare import AnswerPrepared
from ensemw2s.models.adapting.adapters import SCALE_ROWS, fit_scale
from ensemw2s.models.inputs import EmbeddedInputs, IdInputs, PooledInputs, TokenInputs
from ensemw2s.records import Inputs
from ensemw2s.services.planning.units import RoleName, training_amount, training_verb, trainings_of
from ensemw2s.train.answers import AnswerSupervision, train_answers
from ensemw2s.train.loop import predict, train
from ensemw2s.train.samples import Supervision

Rates = Mapping[tuple[str, str], float]
"""Verb and role to seconds per unit of amount (`units.Unit.amount`)."""
SECONDS = 10.0
"""For all measurements together; each is made at least twice, so that large models take longer."""
N_MEASUREMENTS = 11
N_ROWS = 64
"""Examples that are read, scored and written."""


@dataclass(frozen=True)
class Trial:
    """A little of one kind of work, and how much of it that is."""

    work: Callable[[], object]
    amount: Callable[[], float]
    """Asked once the work was done."""


def measured_rates(prepared: ClassPrepared | AnswerPrepared) -> Rates:
    """Seconds per unit of amount of every kind of work of this experiment."""
    trials: dict[tuple[str, str], Trial] = {}
    for name, training in trainings_of(prepared.config):
        short = _short(training)
        if isinstance(prepared, AnswerPrepared):
            trials |= _answer_trials(prepared, name, short)
        else:
            trials |= _class_trials(prepared, name, short)
    trials["interval", "both"] = _interval_trial(prepared)
    each = SECONDS / N_MEASUREMENTS
    return {kind: measured(trial.work, each) / trial.amount() for kind, trial in trials.items()}


def _class_trials(prepared: ClassPrepared, name: RoleName, training: TrainConfig) -> dict[tuple[str, str], Trial]:
    """Reading by the trunk, a short training, and predictions."""
    draw = prepared.split.draw(prepared.config.seeds[0])
    role = prepared.roles[name]
    trains_by_step = role.config.adapter == "head"
    n = min(len(draw.easy_train), (8 if trains_by_step else 2) * training.batch_size)
    rows = draw.easy_train[:n] if trains_by_step else draw.easy_train[: max(n, min(N_ROWS, len(draw.easy_train)))]
    source = role.pooled if isinstance(role.inputs, IdInputs | EmbeddedInputs) else role.inputs
    part = rows[:N_ROWS]
    inputs, places = held(role.inputs, rows), torch.arange(len(part))
    soft = one_hot(prepared.split.easy_labels[rows[:n]], prepared.n_classes).float()
    supervision = Supervision(torch.arange(n), WeakBatch(soft=soft), torch.ones(n))
    module = role.builder(training, prepared.n_classes)(stream(0, "plan"))
    fit_scale(module, inputs, torch.arange(len(rows))[:SCALE_ROWS])
    tokens = float(inputs.lengths[:n].sum())
    writing = _writing_trial(prepared, name, part)
    return writing | {
        ("read", name): Trial(lambda: source.batch(part), lambda: int(source.lengths[part].sum())),
        (training_verb(training), name): Trial(
            lambda: train(module, inputs, supervision, CrossEntropy(), training, seed=0),
            lambda: training_amount(role.config.adapter, training, n, tokens),
        ),
        ("score", name): Trial(lambda: predict(module, inputs, places), lambda: int(inputs.lengths[places].sum())),
    }


def _writing_trial(prepared: ClassPrepared, name: RoleName, rows: Tensor) -> dict[tuple[str, str], Trial]:
    """A little of what is written before questions, where this model writes it."""
    writer = next((contexts.writer for contexts in prepared.contexts.values()), None)
    if writer is None or name != prepared.config.ensemble.context.written_by:
        return {}
    prompts, n_written = [prepared.split.examples[row].prompt for row in rows[: N_ROWS // 4].tolist()], [0]

    def write() -> None:
        n_written[0] = sum(len(each.log_probs) for each in writer.compose(prompts, REASONS))

    return {("write", name): Trial(write, lambda: max(n_written[0], 1))}


def _answer_trials(prepared: AnswerPrepared, name: RoleName, training: TrainConfig) -> dict[tuple[str, str], Trial]:
    """Reading by the trunk, a short training, scoring of true answers, and writing."""
    config = prepared.config
    draw = prepared.split.draw(config.seeds[0])
    role = prepared.roles[name]
    n_members = config.ensemble.n_rounds if name == "weak" else 1  # a pool's members write alone
    rows = draw.easy_train[: max(2 * training.batch_size, N_ROWS)]
    texts = [prepared.split.easy_answers[row] for row in rows.tolist()]
    answers = role.answers(rows, texts, prepared.names_of(rows))
    inputs, n = role.open(answers.read), min(len(rows), 2 * training.batch_size)
    supervision = AnswerSupervision(answers, torch.arange(n), torch.ones(len(answers.targets)))
    module = role.builder(training)(stream(0, "plan"))
    places = torch.arange(min(N_ROWS, len(rows)))
    models = [role.builder(training)(stream(0, "plan", t)).eval() for t in range(n_members)]
    ones, tokens = torch.ones(n_members), float(inputs.lengths[:n].sum())
    trials = {
        ("read", name): Trial(lambda: role.open(answers.read), lambda: sum(map(len, answers.read))),
        (training_verb(training), name): Trial(
            lambda: train_answers(module, inputs, supervision, training, seed=0),
            lambda: training_amount(role.config.adapter, training, n, tokens),
        ),
        ("score", name): Trial(
            lambda: score_answers(models, inputs, answers, places, weights=ones),
            lambda: n_members * int(inputs.lengths[places].sum()),
        ),
    }
    if prepared.by_choice:
        return trials
    # Nothing is known of where an untrained model ends, so it writes exactly as much as the known answers.
    length = ceil(len(answers.targets) / len(answers.ids))
    decoding = prepared.decoding.model_copy(update={"max_new_tokens": length, "stop": ()})
    vote, n_written = prepared.token_vote, [0]

    def write() -> None:
        decoded = role.write(models, ones, rows[places], decoding, prepared.names_of(rows[places]), vote)
        n_written[0] = sum(len(d.tokens) + d.is_finished for d in decoded)

    trials["write", name] = Trial(write, lambda: max(n_written[0], 1))
    if name == "strong":  # the untrained model is asked with the run's own rules of where to end
        asked = draw.easy_val[: N_ROWS // 4]
        names, untrained = prepared.names_of(asked), role.load([])
        trials["ask", name] = Trial(
            lambda: role.write(untrained, torch.ones(1), asked, prepared.decoding, names, vote), lambda: len(asked)
        )
    return trials


def _interval_trial(prepared: Prepared) -> Trial:
    split, n_seeds = prepared.split, len(prepared.config.seeds)
    groups = split.groups[torch.tensor(list(split.pools[split.tests[-1]]))]
    drawn = intervals.Resamples.draw(groups, n_seeds, stream(0, "plan"))
    values = torch.rand(n_seeds, len(groups), dtype=torch.float64)
    return Trial(lambda: intervals.mean_interval(values, drawn), lambda: 1.0)


def measured(work: Callable[[], object], seconds: float) -> float:
    """Median seconds of one call after a first one; no further call once `seconds` are spent, but always a second."""
    work()
    found: list[float] = []
    begun = time.perf_counter()
    while not found or time.perf_counter() - begun + found[-1] < seconds:
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def peak_memory() -> int:
    """Bytes that this process held at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def held(inputs: Inputs, rows: Int[Tensor, " rows"]) -> Inputs:
    """These rows alone, with their activations in memory, as a training finds them."""
    if isinstance(inputs, IdInputs):
        return IdInputs(tuple(inputs.token_ids[row] for row in rows.tolist()), inputs.pad_id)
    values, mask = inputs.batch(rows)
    if values.shape[1] == 1:
        return PooledInputs((values[:, 0],), inputs.lengths[rows])
    lengths = mask.sum(1)
    offsets = torch.cat([torch.zeros(1, dtype=lengths.dtype), lengths.cumsum(0)])
    return TokenInputs(((values[mask.bool()], offsets),), lengths)


def _short(training: TrainConfig) -> TrainConfig:
    """One epoch; the search for a size that fits is no part of a step."""
    micro = None if training.micro_batch_size == "auto" else training.micro_batch_size
    return training.model_copy(update={"epochs": 1, "patience": None, "micro_batch_size": micro})
