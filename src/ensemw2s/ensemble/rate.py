"""Difficulty under the weak model, cross-fitted: no example is scored by a model that was trained on it.

`entropy` and `margin` need no labels of the examples that they score, but their raters are trained on some. A random
part of the task is set aside for that and not used otherwise, so that no label of the hard examples has an effect.
`p_true` uses every label, and the split says so; 2410.04571 rates by it without folds, on examples learned from.

In generation the label-free kinds are means over the tokens of the rater's greedy answer, and `p_true` is the mean over
those of the true answer. Sums would rate long answers as hard.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ensemw2s.config import DecodingConfig, DifficultyConfig, TrainConfig
from ensemw2s.core import difficulty, sampling
from ensemw2s.core.losses import CrossEntropy, WeakBatch
from ensemw2s.core.seeds import stream, stream_seed
from ensemw2s.ensemble.words.decode import decode
from ensemw2s.ensemble.words.members import SharedTrunk
from ensemw2s.ensemble.words.scores import score_answers
from ensemw2s.errors import DataError
from ensemw2s.models.adapting.adapters import SCALE_ROWS, Adapter, fit_scale
from ensemw2s.models.language import AnswerModel
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.records import AnswerTokens, Inputs
from ensemw2s.train.answers import AnswerSupervision, train_answers
from ensemw2s.train.loop import predict, train
from ensemw2s.train.samples import Supervision


@dataclass(frozen=True)
class Rating:
    """Difficulty of each example of the task, and the examples whose labels trained the raters."""

    difficulty: Float[Tensor, " examples"]
    """Larger is harder: nats for entropy, probability for margin and p_true; in generation p_true is nats per token."""
    set_aside: Bool[Tensor, " examples"]


def rate(
    inputs: Inputs,
    labels: Int[Tensor, " examples"],
    group_ids: Sequence[str],
    n_classes: int,
    build: Callable[[torch.Generator], Adapter],
    training: TrainConfig,
    config: DifficultyConfig,
    *,
    seed: int,
) -> Rating:
    """Rate examples of a classification task; the label-free kinds use the mean of the raters' probabilities.

    Args:
        labels: of the examples that `learners` names; the label-free kinds read no other.
    """

    def fit(rows: Tensor, fold: int) -> Callable[[Tensor], Tensor]:
        module = build(stream(seed, "rate-init", fold))
        fit_scale(module, inputs, rows[:SCALE_ROWS])
        targets = nn.functional.one_hot(labels[rows], n_classes).float()
        supervision = Supervision(rows, WeakBatch(soft=targets), torch.ones(len(rows)))
        train(module, inputs, supervision, CrossEntropy(), training, seed=stream_seed(seed, "rate", fold))
        return lambda scored: predict(module, inputs, scored).exp()

    probabilities, set_aside = _cross_fit(group_ids, fit, config, seed)
    log_probs = probabilities.clamp_min(torch.finfo(torch.float32).tiny).log()
    if config.source == "p_true":
        return Rating(difficulty.p_true_difficulty(log_probs, labels), set_aside)
    return Rating(difficulty.uncertainty(log_probs, _kind(config)), set_aside)


def rate_answers(
    backbone: Backbone,
    prompts: Sequence[Sequence[int]],
    truths: Callable[[Int[Tensor, " rows"]], AnswerTokens],
    open_inputs: Callable[[Sequence[Sequence[int]]], Inputs],
    group_ids: Sequence[str],
    build: Callable[[torch.Generator], AnswerModel],
    training: TrainConfig,
    decoding: DecodingConfig,
    config: DifficultyConfig,
    *,
    seed: int,
) -> Rating:
    """Rate questions of a generation task.

    Args:
        prompts: token ids of every example.
        truths: the true answers of these rows; the label-free kinds ask for those of `learners` alone.
        open_inputs: trunk activations of token sequences.
        decoding: settings of the raters' generation; tokens are always the likeliest.
    """
    labelled = learners(group_ids, config, seed)
    answers, place = truths(labelled), {row: i for i, row in enumerate(labelled.tolist())}
    inputs = open_inputs(answers.read)
    greedy = decoding.model_copy(update={"temperature": 0.0})

    def fit(rows: Tensor, fold: int) -> Callable[[Tensor], Tensor]:
        module = build(stream(seed, "rate-init", fold))
        places = torch.tensor([place[row] for row in rows.tolist()])
        supervision = AnswerSupervision(answers, places, torch.ones(len(answers.targets)))
        train_answers(module, inputs, supervision, training, seed=stream_seed(seed, "rate", fold))

        def true_answers(scored: Tensor) -> Tensor:
            places = torch.tensor([place[row] for row in scored.tolist()])
            scores = score_answers([module], inputs, answers, places)
            return torch.stack([-gold.mean() for gold in scores.gold[0].split(scores.sizes.tolist())])

        def own_answers(scored: Tensor) -> Tensor:
            asked = [prompts[row] for row in scored.tolist()]
            members = SharedTrunk(backbone, [module])
            found = decode(members, torch.ones(1), backbone.tokenizer, asked, greedy, measure=uncertainty)
            return torch.tensor([fmean(d.measured) for d in found])

        return true_answers if config.source == "p_true" else own_answers

    def uncertainty(log_probs: Tensor) -> Tensor:
        return difficulty.uncertainty(log_probs, _kind(config))

    return Rating(*_cross_fit(group_ids, fit, config, seed))


def _cross_fit(
    group_ids: Sequence[str],
    fit: Callable[[Int[Tensor, " rows"], int], Callable[[Int[Tensor, " rows"]], Float[Tensor, "rows *scores"]]],
    config: DifficultyConfig,
    seed: int,
) -> tuple[Float[Tensor, "examples *scores"], Bool[Tensor, " examples"]]:
    """Scores of every example, and which are set aside.

    `fit` trains a rater of a fold on these rows and returns what scores others. An example of a fold is scored by the
    one rater that did not see its fold; an example that none saw gets the mean of them all.
    """
    labelled = learners(group_ids, config, seed)
    folds = sampling.group_folds([str(group_ids[int(i)]) for i in labelled], config.n_folds, stream(seed, "rate-folds"))
    outside = torch.ones(len(group_ids), dtype=torch.bool)
    outside[labelled] = False
    scores: Tensor | None = None
    for fold in range(config.n_folds):
        scorer = fit(labelled[folds != fold], fold)
        scored = torch.cat([labelled[folds == fold], outside.nonzero()[:, 0]])
        found = scorer(scored)
        if scores is None:
            scores = torch.zeros(len(group_ids), *found.shape[1:])
        share = torch.where(outside[scored], 1.0 / config.n_folds, 1.0)
        scores[scored] += share.view(-1, *[1] * (found.ndim - 1)) * found
    assert scores is not None
    return scores, ~outside if config.source != "p_true" else torch.zeros(len(group_ids), dtype=torch.bool)


def _kind(config: DifficultyConfig) -> Literal["entropy", "margin"]:
    return "margin" if config.source == "margin" else "entropy"


def learners(group_ids: Sequence[str], config: DifficultyConfig, seed: int) -> Int[Tensor, " learners"]:
    """Rows whose labels train the raters: all for `p_true`, else whole groups up to `n_labelled` examples.

    Raises:
        DataError: they are fewer groups than folds, or they are all that there is.
    """
    by_group: dict[str, list[int]] = {}
    for i, group in enumerate(group_ids):
        by_group.setdefault(group, []).append(i)
    groups = sorted(by_group)
    chosen: list[str] = []
    n_chosen = 0
    if config.source == "p_true":
        chosen, n_chosen = groups, len(group_ids)
    else:
        for g in torch.randperm(len(groups), generator=stream(seed, "rate-learners")).tolist():
            if n_chosen >= config.n_labelled:
                break
            chosen.append(groups[g])
            n_chosen += len(by_group[groups[g]])
        if n_chosen == len(group_ids):
            raise DataError(
                f"difficulty.n_labelled ({config.n_labelled}) takes all {len(group_ids)} examples of the task, so none "
                "is left to rate; lower it"
            )
    if len(chosen) < config.n_folds:
        raise DataError(
            f"difficulty.n_folds ({config.n_folds}) exceeds the {len(chosen)} groups of the {n_chosen} examples whose "
            "labels train the raters; lower it, or raise difficulty.n_labelled"
        )
    return torch.tensor(sorted(i for group in chosen for i in by_group[group]))
