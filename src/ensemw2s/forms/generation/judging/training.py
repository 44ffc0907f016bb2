"""Judges that learn: true easy answers against wrong ones, an expert of the store for each judge."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.config import EnsembleConfig, ModelConfig, TrainConfig, canonical_hash
from ensemw2s.core import sampling
from ensemw2s.core.boosting import chance_error
from ensemw2s.core.seeds import stream, stream_seed
from ensemw2s.data.answers import is_right
from ensemw2s.ensemble.fit import EnsembleState, FittedExpert, Spent, Weak, fit_expert, grow, held_out_errors
from ensemw2s.ensemble.methods import Samples
from ensemw2s.ensemble.pool import follows_folds
from ensemw2s.ensemble.words.judges import AnswerPairs, direction, judges_in_training
from ensemw2s.errors import DataError
from ensemw2s.evaluation import costs
from ensemw2s.forms.generation.judging.reading import judging, read_by
from ensemw2s.forms.generation.labelling.samples import draw_samples
from ensemw2s.forms.generation.prepare import AnswerPrepared
from ensemw2s.forms.generation.scores import AnswerVoters, PoolVoters
from ensemw2s.forms.prepared import SeedContext
from ensemw2s.models.activations import open_activations
from ensemw2s.results import Cost
from ensemw2s.storage.store import Artifact, artifact_key
from ensemw2s.training_end import TrainingEnd

JUDGE_VERSION = 1
"""Raise it when what judges learn, or how they do, changes."""


HEAD = ModelConfig()
"""What is trained of the model: a linear head."""
TRAINING = TrainConfig().resolved(HEAD, has_optimum=True)
"""The loss of a linear judge has an optimum, so that no setting of the run's trainings has a part in it."""


class JudgedPair(NamedTuple):
    """Two answers to one question, of which the first is better."""

    prompt: str
    better: str
    worse: str
    group_id: str
    """Of the question, so that folds do not tear what belongs together."""


def trained_judges(
    prepared: AnswerPrepared, seed: SeedContext, first: AnswerVoters | PoolVoters
) -> tuple[Float[Tensor, "judges dim"], Cost]:
    """Judges that learned a seed's easy answers, each as its direction among features; and what making them cost.

    Args:
        first: whose own wrong answers to these questions are the worse ones.
    """
    learned, drawing = easy_pairs(prepared, seed, first, seed.draw.easy_train)
    held, drawing_held = easy_pairs(prepared, seed, first, seed.draw.easy_val)
    if not learned:
        raise DataError(
            f"seed {seed.seed}: no easy question has a wrong answer that judges could learn from; give more easy "
            "questions (split.n_easy_train), or set judges.kind: likelihood"
        )
    directions, training = judges_of_pairs(prepared, seed, learned, held)
    return directions, costs.total([drawing, drawing_held, training])


def easy_pairs(
    prepared: AnswerPrepared, seed: SeedContext, first: AnswerVoters | PoolVoters, rows: Int[Tensor, " rows"]
) -> tuple[list[JudgedPair], Cost]:
    """True answers to easy questions against wrong ones, and what drawing these cost.

    Wrong are the other options of a question that has some; else answers that `first` draws, and where these are too
    few or right, true answers to other questions, of like length first: a judge shall not learn that short is right.
    """
    truths, n = [prepared.split.easy_answers[row] for row in rows.tolist()], prepared.config.judges.n_negatives
    own: Sequence[Sequence[str]]
    if prepared.by_choice:
        own, cost = prepared.options(rows), costs.NOTHING
    else:
        samples, cost = draw_samples(prepared, seed, first, rows, n, prepared.config.generation.sample_temperature)
        own = samples.texts
    everything = list(dict.fromkeys(truths))
    found: list[JudgedPair] = []
    for row, truth, given in zip(rows.tolist(), truths, own, strict=True):
        example, group = prepared.split.examples[row], str(int(prepared.split.groups[row]))
        draws = stream(seed.seed, "negatives", example.id)
        others = [] if prepared.by_choice else _by_length(everything, truth, draws)
        negatives: dict[str, str] = {}
        for text in (*given, *others):
            if prepared.final(text) and not is_right(text, truth, verifier=prepared.task.verifier):
                negatives.setdefault(prepared.final(text), text)
        found += [JudgedPair(example.prompt, truth, text, group) for text in list(negatives.values())[:n]]
    return found, cost


def judges_of_pairs(
    prepared: AnswerPrepared, seed: SeedContext, learned: Sequence[JudgedPair], held: Sequence[JudgedPair]
) -> tuple[Float[Tensor, "judges dim"], Cost]:
    """An ensemble of judges of these pairs, `judges.n_judges` by `judges.method`; and what training it cost.

    Args:
        held: pairs of other questions, which choose the penalty; without any, a fifth of the learned ones does.

    Raises:
        DataError: there is no pair, or without `held` they are of a single group.
    """
    role, settings = prepared.strong, prepared.config.judges
    learned, held = (learned, held) if held else _parted(learned, seed)
    texts = list(dict.fromkeys((p.prompt, answer) for p in (*learned, *held) for answer in (p.better, p.worse)))
    place = {text: k for k, text in enumerate(texts)}
    ids = [one[:-1] for one in read_by(role, [p for p, _ in texts], [a for _, a in texts]).ids]
    backbone = replace(role.backbone, pooling=("last",))
    features = open_activations(backbone, ids, config=HEAD, cache=prepared.config.cache, store=seed.store)

    def placed(pairs: Sequence[JudgedPair]) -> AnswerPairs:
        better = torch.tensor([place[p.prompt, p.better] for p in pairs], dtype=torch.long)
        worse = torch.tensor([place[p.prompt, p.worse] for p in pairs], dtype=torch.long)
        return AnswerPairs(better, worse, [p.group_id for p in pairs])

    learned_pairs, held_pairs = placed(learned), placed(held)
    weak = judges_in_training(features, backbone.feature_size, learned_pairs, held_pairs, TRAINING)
    ensemble = prepared.config.ensemble.model_copy(
        update={"methods": (settings.method,), "n_rounds": settings.n_judges}
    )
    deciding = {
        "read": canonical_hash(ids),
        "learned": [weak.group_ids, *(canonical_hash(each.tolist()) for each in learned_pairs[:2])],
        "held": [canonical_hash(each.tolist()) for each in held_pairs[:2]],
        "training": TRAINING.deciding,
        **judging(role),
    }
    state = EnsembleState.start(settings.method, stream_seed(seed.seed, "judges"), len(weak.rows))
    spent, n_passes = Spent(), 0.0
    while not state.finished:
        fitted = _next_judge(seed, weak, state, ensemble, deciding)
        state = grow(state, fitted, ensemble, chance_error(2))
        spent += fitted.spent
        n_passes += TRAINING.passes_of(fitted.end)
    directions = torch.stack([direction(expert.state) for expert in state.experts])
    whole, owned = role.trunk_flops + role.own_flops, 2 * backbone.feature_size
    flops = whole * sum(map(len, ids)) + 6.0 * owned * n_passes * len(weak.rows)
    return directions, Cost(training_tokens=spent.tokens, expert_evaluations=0, flops=flops)


def _parted(pairs: Sequence[JudgedPair], seed: SeedContext) -> tuple[list[JudgedPair], list[JudgedPair]]:
    """Four fifths of the pairs, and a fifth, no group in both."""
    groups = [pair.group_id for pair in pairs]
    n_folds = min(5, len(set(groups)))
    if n_folds < 2:
        raise DataError(
            f"seed {seed.seed}: judges learn from {len(pairs)} pairs of {len(set(groups))} groups of questions, and a "
            "part of the groups must be held out; give more easy questions (split.n_easy_train)"
        )
    is_held = sampling.group_folds(groups, n_folds, stream(seed.seed, "held pairs")) == 0
    parts = [[pair for pair, held in zip(pairs, is_held.tolist(), strict=True) if held == part] for part in (0, 1)]
    return parts[0], parts[1]


def _next_judge(
    seed: SeedContext, weak: Weak, state: EnsembleState, ensemble: EnsembleConfig, deciding: dict[str, Any]
) -> FittedExpert:
    """The judge of the next round, with the errors that its method follows."""
    draw = state.next_draw(ensemble, Samples(state.sample_weights, len(weak.rows)), state.next_stream)
    view = state.next_view(ensemble, weak.n_layers)
    by_folds = follows_folds(state.method, ensemble, 1)
    key = artifact_key(
        JUDGE_VERSION,
        {
            **deciding,
            "stream": state.next_stream,
            "draw": canonical_hash(draw.rows.tolist()),
            "weights": canonical_hash(draw.weights.tolist()),
            "view": view.deciding,
            "folds": [ensemble.n_folds, canonical_hash(state.sample_weights.tolist())] if by_folds else None,
        },
    )

    def compute() -> Artifact:
        fitted = fit_expert(weak, state, ensemble)
        is_wrong, spent = fitted.is_wrong, fitted.spent
        if by_folds:
            is_wrong, of_folds = held_out_errors(weak, state, ensemble)
            spent += of_folds
        tensors = {f"state/{name}": tensor for name, tensor in fitted.state.items()}
        end = {} if fitted.end is None else fitted.end.record
        return Artifact(tensors | {"is_wrong": is_wrong}, spent.record | end)

    kept = seed.memo("judges", key, compute)
    spent, end = Spent.of(kept.record), TrainingEnd.of(kept.record)
    return FittedExpert(kept.state, torch.zeros(0, 2), kept.tensors["is_wrong"], spent, view, end)


def _by_length(texts: list[str], like: str, generator: torch.Generator) -> list[str]:
    """In an order drawn at random, those of the nearest length first."""
    order = torch.randperm(len(texts), generator=generator).tolist()
    return sorted([texts[k] for k in order], key=lambda text: abs(len(text) - len(like)))
