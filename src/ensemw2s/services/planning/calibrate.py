"""How fast this machine does each kind of work: the run's own functions on a few of its own examples."""

import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from math import ceil

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import one_hot

from ensemw2s.config import TrainConfig
from ensemw2s.core import intervals
from ensemw2s.core.losses import CrossEntropy, WeakBatch
from ensemw2s.core.seeds import stream
from ensemw2s.ensemble.scores import staged_scores
from ensemw2s.forms.classification.side import Side
from ensemw2s.forms.generation.prepare import AnswerPrepared, AnswerSide
from ensemw2s.models.activations import EmbeddedInputs, IdInputs, PooledInputs, TokenInputs
from ensemw2s.models.adapters import SCALE_ROWS, fit_scale
from ensemw2s.models.language import AnswerModel
from ensemw2s.pipeline.prepare import Prepared
from ensemw2s.records import AnswerTokens, Inputs
from ensemw2s.services.planning.units import training_amount
from ensemw2s.train.answers import AnswerSupervision, train_answers
from ensemw2s.train.loop import Supervision, predict, train

Rates = Mapping[tuple[str, str], float]
"""Verb and side to seconds per unit of amount (`units.Unit.amount`)."""
SECONDS = 10.0
"""For all measurements together; each is made at least twice, so that large models take longer."""
N_ROWS = 64
"""Examples that are read, scored and written."""


def class_rates(prepared: Prepared) -> Rates:
    """Seconds per unit of amount of every kind of work of this experiment."""
    each = SECONDS / 7
    draw = prepared.split.draw(prepared.config.seeds[0])
    rates: dict[tuple[str, str], float] = {}
    for name, training in (
        ("weak", prepared.config.expert_training),
        ("strong", prepared.config.student_training),
    ):
        side: Side = getattr(prepared, name)
        trains_by_step = side.config.adapter == "head"
        n = min(len(draw.easy_train), (8 if trains_by_step else 2) * training.batch_size)
        rows = draw.easy_train[:n] if trains_by_step else draw.easy_train[: max(n, min(N_ROWS, len(draw.easy_train)))]
        source = side.pooled if isinstance(side.inputs, IdInputs | EmbeddedInputs) else side.inputs
        part = rows[:N_ROWS]
        seconds = measured(lambda source=source, part=part: source.batch(part), each)
        rates["read", name] = seconds / int(source.lengths[part].sum())
        inputs = held(side.inputs, rows)
        soft = one_hot(prepared.split.easy_labels[rows[:n]], prepared.n_classes).float()
        lesson = Supervision(torch.arange(n), WeakBatch(soft=soft), torch.ones(n))
        module = side.builder(training, prepared.n_classes)(stream(0, "plan"))
        fit_scale(module, inputs, torch.arange(len(rows))[:SCALE_ROWS])
        short = _short(training)
        seconds = measured(
            lambda m=module, i=inputs, x=lesson, s=short: train(m, i, x, CrossEntropy(), s, seed=0), each
        )
        tokens = float(inputs.lengths[:n].sum())
        rates["train", name] = seconds / training_amount(side.config.adapter, short, n, tokens)
        places = torch.arange(len(part))
        seconds = measured(lambda m=module, i=inputs, p=places: predict(m, i, p), each)
        rates["score", name] = seconds / int(inputs.lengths[places].sum())
    rates["interval", "both"] = _interval_seconds(prepared, each)
    return rates


def answer_rates(prepared: AnswerPrepared) -> Rates:
    """The same where answers are words."""
    config = prepared.config
    each = SECONDS / 10
    draw = prepared.split.draw(config.seeds[0])
    rates: dict[tuple[str, str], float] = {}
    for name, training, n_members in (
        ("weak", config.expert_training, config.ensemble.n_rounds),
        ("strong", config.student_training, 1),
    ):
        side: AnswerSide = getattr(prepared, name)
        rows = draw.easy_train[: max(2 * training.batch_size, N_ROWS)]
        texts = [prepared.easy_texts[row] for row in rows.tolist()]
        answers = side.answers(rows, texts, [prepared.names[row] for row in rows.tolist()])
        n_tokens = sum(len(ids) for ids in answers.read)
        rates["read", name] = measured(lambda side=side, a=answers: side.open(a.read), each) / n_tokens
        inputs = side.open(answers.read)
        n = min(len(rows), 2 * training.batch_size)
        lesson = AnswerSupervision(answers, torch.arange(n), torch.ones(len(answers.targets)))
        module = side.builder(training)(stream(0, "plan"))
        short = _short(training)
        seconds = measured(lambda m=module, i=inputs, x=lesson, s=short: train_answers(m, i, x, s, seed=0), each)
        rates["train", name] = seconds / training_amount(side.config.adapter, short, n, float(inputs.lengths[:n].sum()))
        places = torch.arange(min(N_ROWS, len(rows)))
        models = [side.builder(training)(stream(0, "plan", t)).eval() for t in range(n_members)]
        ones = torch.ones(n_members)
        seconds = measured(lambda m=models, w=ones, i=inputs, a=answers, p=places: staged_scores(m, w, i, a, p), each)
        rates["score", name] = seconds / (n_members * int(inputs.lengths[places].sum()))
        if config.generation.answer_by == "decode":
            rates["write", name] = _writing(side, models, answers, rows[places], prepared, each)
    if config.generation.answer_by == "decode":
        rates["ask", "strong"] = _asking(prepared, draw.easy_val[: N_ROWS // 4], each)
    rates["interval", "both"] = _interval_seconds(prepared, each)
    return rates


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
    return training.model_copy(update={"epochs": 1, "micro_batch_size": micro})


def _writing(
    side: AnswerSide,
    models: Sequence[AnswerModel],
    answers: AnswerTokens,
    rows: Int[Tensor, " rows"],
    prepared: AnswerPrepared,
    seconds: float,
) -> float:
    """Seconds per token that an ensemble writes, for answers as long as the known ones."""
    config = prepared.config
    length = ceil(len(answers.targets) / len(answers.ids))
    # Nothing is said of where an untrained model ends, so it writes exactly as much as the known answers.
    decoding = prepared.decoding.model_copy(update={"max_new_tokens": length, "stop": ()})
    names = [prepared.names[row] for row in rows.tolist()]
    written = 0

    def write() -> None:
        nonlocal written
        found = side.write(models, torch.ones(len(models)), rows, decoding, names, config.ensemble.vote)
        written = sum(len(d.tokens) + d.is_finished for d in found)

    spent = measured(write, seconds)
    return spent / max(written, 1)


def _asking(prepared: AnswerPrepared, rows: Int[Tensor, " rows"], seconds: float) -> float:
    """Seconds per question that the untrained strong model answers, with the run's own rules of where to end."""
    side, config = prepared.strong, prepared.config
    names = [prepared.names[row] for row in rows.tolist()]
    models, ones = [side.untrained()], torch.ones(1)
    spent = measured(lambda: side.write(models, ones, rows, prepared.decoding, names, config.ensemble.vote), seconds)
    return spent / len(rows)


def _interval_seconds(prepared: Prepared | AnswerPrepared, seconds: float) -> float:
    split, n_seeds = prepared.split, len(prepared.config.seeds)
    groups = split.groups[torch.tensor(list(split.pools[split.tests[-1]]))]
    drawn = intervals.Resamples.draw(groups, n_seeds, stream(0, "plan"))
    values = torch.rand(n_seeds, len(groups), dtype=torch.float64)
    return measured(lambda: intervals.mean_interval(values, drawn), seconds / 4)
