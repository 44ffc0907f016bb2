"""The first stage in words: every method's ensemble, round by round, and the experts to compare it with."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from ensemw2s.config import TrainConfig, canonical_hash
from ensemw2s.ensemble.fit import EnsembleState, FittedExpert, grow
from ensemw2s.ensemble.label import expert_weights
from ensemw2s.ensemble.methods import make_method
from ensemw2s.ensemble.tokens import (
    Options,
    WeakAnswers,
    errors,
    fit_answer_expert,
    held_out_errors,
    next_draw,
    prior_error,
    trivial_tokens,
    wrong_samples,
)
from ensemw2s.names import SINGLE
from ensemw2s.pipeline.generation.cost import total, training_cost
from ensemw2s.pipeline.generation.work import AnswerEnsemble, AnswerWork
from ensemw2s.pipeline.rows import BEST_SINGLE, SINGLE_LONG
from ensemw2s.records import Expert
from ensemw2s.storage.store import Artifact, artifact_key

EXPERT_VERSION = 5


def train_experts(work: AnswerWork) -> Iterator[None]:
    """Train every method's ensemble, round by round, and choose its size on easy-val; yields after each unit."""
    for method in work.prepared.config.ensemble.methods:
        yield from fit_ensemble(work, method)
    yield from _single_experts(work)


def fit_ensemble(work: AnswerWork, method: str) -> Iterator[None]:
    """Train one method's ensemble round by round and choose its size on easy-val; yields after each round."""
    config, side = work.prepared.config, work.prepared.weak
    weak = _weak(work, config.expert_training)
    work.outcome.counted = weak.counted
    prior = _prior(work, weak)
    state = EnsembleState.start(method, work.seed, weak.n_samples)
    keys: list[str] = []
    while not state.finished:
        key, fitted = _fitted(work, weak, state)
        before = len(state.experts)
        state = grow(state, fitted, config.ensemble, prior)
        keys += [key] * (len(state.experts) - before)
        yield
    weights = expert_weights(state.experts, config.ensemble)
    size = _best_size(work, state.experts, tuple(keys), weights)
    ensemble = AnswerEnsemble(method, work.seed, state.experts, tuple(keys), size, prior, weights)
    work.outcome.ensembles[method] = ensemble
    work.outcome.n_experts[method] = size
    work.set_voters(method, side, ensemble.keys[:size], [e.state for e in state.experts[:size]], weights[:size])
    work.outcome.cost[method] = total(
        training_cost(side, e.state, e.training_tokens, _answer_tokens(work, e)) for e in state.experts
    )


def _prior(work: AnswerWork, weak: WeakAnswers) -> float:
    """The same for every method and length of training: computed once."""
    if work.prior_error is None:
        work.prior_error = prior_error(weak, work.prepared.config.ensemble)
    return work.prior_error


def _single_experts(work: AnswerWork) -> Iterator[None]:
    """The best member by easy-val, and one expert that is given the whole ensemble's training budget."""
    config, side = work.prepared.config, work.prepared.weak
    best: tuple[float, str, dict[str, Tensor]] | None = None
    for ensemble in work.outcome.ensembles.values():
        val = work.val_right(ensemble.experts, ensemble.keys, ensemble.weights)
        for expert, key, right in zip(ensemble.experts, ensemble.keys, val.member, strict=True):
            exact = float(right.double().mean())
            if best is None or exact > best[0]:
                best = (exact, key, expert.state)
    assert best is not None
    work.set_voters(BEST_SINGLE, side, (best[1],), [best[2]], torch.ones(1))
    work.outcome.cost[BEST_SINGLE] = total(work.outcome.cost.values())  # choosing cost the training of them all
    training = config.expert_training
    long = training.model_copy(update={"epochs": training.epochs * config.ensemble.n_rounds})
    weak = _weak(work, long)
    state = EnsembleState.start(SINGLE, work.seed, weak.n_samples)
    key, fitted = _fitted(work, weak, state)
    expert = grow(state, fitted, config.ensemble, _prior(work, weak)).experts[0]
    work.set_voters(SINGLE_LONG, side, (key,), [expert.state], torch.ones(1))
    work.outcome.cost[SINGLE_LONG] = training_cost(
        side, expert.state, expert.training_tokens, config.ensemble.n_rounds * _answer_tokens(work, expert)
    )
    yield


def _weak(work: AnswerWork, training: TrainConfig) -> WeakAnswers:
    prepared, side, rows = work.prepared, work.prepared.weak, work.draw.easy_train
    answers = work.easy["weak"]
    trivial = trivial_tokens(answers, side.backbone.tokenizer)
    counts = torch.ones_like(trivial) if prepared.config.generation.count_trivial else ~trivial
    return WeakAnswers(
        inputs=side.open(answers.read),
        answers=answers,
        rows=rows,
        group_ids=[str(g) for g in prepared.split.groups[rows].tolist()],
        counted=counts,
        build=side.builder(training),
        training=training,
        generation=prepared.config.generation,
        options=_options(work),
    )


def _options(work: AnswerWork) -> Options | None:
    """What the training questions can be answered with, where boosting weighs which option is taken."""
    prepared, side, rows = work.prepared, work.prepared.weak, work.draw.easy_train
    generation = prepared.config.generation
    if generation.answer_by != "choices" or generation.boost_unit != "sequence":
        return None
    options = prepared.options(rows)
    answers = side.option_answers(rows, options, [prepared.names[r] for r in rows.tolist()])
    true = [each.index(prepared.easy_texts[r]) for each, r in zip(options, rows.tolist(), strict=True)]
    sizes = torch.tensor([len(each) for each in options])
    return Options(side.open(answers.read), answers, sizes, torch.tensor(true))


def _fitted(work: AnswerWork, weak: WeakAnswers, state: EnsembleState) -> tuple[str, FittedExpert]:
    """One expert, from the store or trained; the key holds all that decides it and nothing else."""
    config = work.prepared.config
    ensemble = config.ensemble
    draw = next_draw(weak, state, ensemble, torch.arange(len(weak.rows)), state.next_stream)
    is_even = bool((draw.weights == 1.0).all())
    generation = config.generation
    key = artifact_key(
        EXPERT_VERSION,
        {
            "answers": canonical_hash([weak.answers.ids[r] for r in weak.rows.tolist()]),
            "weak": work.prepared.weak.fingerprint,
            "training": weak.training.deciding,
            "stream": state.next_stream,
            "draw": canonical_hash(draw.rows.tolist()),
            # What a sample is decides nothing where all count alike.
            "weights": None if is_even else canonical_hash(draw.weights.tolist()),
            "samples": None if is_even else [generation.boost_unit, generation.count_trivial],
        },
    )

    def compute() -> Artifact:
        fitted = fit_answer_expert(weak, state, ensemble)
        tensors = {f"state/{name}": t for name, t in fitted.state.items()}
        tensors |= {"gold": fitted.log_probs, "is_wrong": fitted.is_wrong}
        return Artifact(tensors, {"training_tokens": fitted.training_tokens})

    found = work.memo("experts", key, compute)
    owned = {n.removeprefix("state/"): t for n, t in found.tensors.items() if n.startswith("state/")}
    is_wrong, tokens = wrong_samples(weak, found.tensors["is_wrong"], weak.rows), found.record["training_tokens"]
    by_folds = ensemble.error_source == "folds"
    needs_errors = make_method(state.method, ensemble, generation).needs_errors
    if needs_errors and (by_folds or weak.options is not None):
        judged = _judged(work, weak, state, key, None if by_folds else owned)
        is_wrong, tokens = judged.tensors["is_wrong"], tokens + judged.record["training_tokens"]
    return key, FittedExpert(owned, found.tensors["gold"], is_wrong, tokens)


def _judged(
    work: AnswerWork, weak: WeakAnswers, state: EnsembleState, expert: str, owned: dict[str, Tensor] | None
) -> Artifact:
    """The expert's errors on the training samples: its own, or those of its like on folds that they did not see."""
    ensemble, options = work.prepared.config.ensemble, weak.options
    deciding = {
        "expert": expert,
        "samples": [weak.generation.boost_unit, weak.generation.count_trivial],
        "options": None if options is None else canonical_hash([list(options.answers.ids), options.true.tolist()]),
        "folds": [ensemble.n_folds, weak.group_ids] if owned is None else None,
        "weights": canonical_hash(state.sample_weights.tolist()) if owned is None else None,
    }

    def compute() -> Artifact:
        if owned is None:
            is_wrong, tokens = held_out_errors(weak, state, ensemble)
        else:
            is_wrong, tokens = errors(weak, work.prepared.weak.load([owned])[0], torch.arange(len(weak.rows))), 0
        return Artifact({"is_wrong": is_wrong}, {"training_tokens": tokens})

    return work.memo("errors", artifact_key(EXPERT_VERSION, deciding), compute)


def _answer_tokens(work: AnswerWork, expert: Expert) -> int:
    return work.prepared.config.expert_training.epochs * len(expert.log_probs)


def _best_size(
    work: AnswerWork, experts: tuple[Expert, ...], keys: tuple[str, ...], weights: Float[Tensor, " experts"]
) -> int:
    """T chosen on easy-val; ties go to the smaller ensemble."""
    if work.prepared.config.ensemble.select_by == "accuracy":
        scores = work.val_right(experts, keys, weights).together.double().mean(1).tolist()
    else:
        scores = work.val_scores(experts, keys, weights).gold.double().mean(1).tolist()
    return max(range(len(scores)), key=scores.__getitem__) + 1
