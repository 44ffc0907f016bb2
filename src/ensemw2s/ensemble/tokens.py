"""Rounds of experts that answer in words: boosting over answer tokens, or over whole answers (EnsemW2S, 2410.04571).

The methods are those of `fit`; here a sample is an answer token (`boost_unit: token`) or an answer (`sequence`). Where
the task is to take one of a question's options, an answer is wrong if another option is taken.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ensemw2s.config import EnsembleConfig, GenerationConfig, TrainConfig
from ensemw2s.core import sampling
from ensemw2s.core.seeds import stream, stream_seed
from ensemw2s.ensemble.choices import likeliest
from ensemw2s.ensemble.fit import EnsembleState, Fitted
from ensemw2s.models.adapters import owned_state
from ensemw2s.models.language import AnswerModel
from ensemw2s.records import AnswerTokens, Inputs
from ensemw2s.train.answers import AnswerSupervision, Scores, score_answers, train_answers


@dataclass(frozen=True)
class Options:
    """Every option of every training question, one question after another."""

    inputs: Inputs
    answers: AnswerTokens
    sizes: Int[Tensor, " train"]
    """Options of each question."""
    true: Int[Tensor, " train"]
    """The place of the true one among them."""

    def wrong(self, module: AnswerModel, candidates: Int[Tensor, " candidates"]) -> Bool[Tensor, " candidates"]:
        """Whether the model finds another option likelier per token."""
        first = self.sizes.cumsum(0) - self.sizes
        rows = torch.cat([torch.arange(int(self.sizes[c])) + first[c] for c in candidates.tolist()])
        gold = score_answers(module, self.inputs, self.answers, rows).gold
        taken, _ = likeliest(gold, self.answers.offsets.diff()[rows].tolist(), self.sizes[candidates].tolist())
        return taken != self.true[candidates]


@dataclass(frozen=True)
class WeakAnswers:
    """What all experts of one seed share."""

    inputs: Inputs
    """Trunk activations of `answers.read`."""
    answers: AnswerTokens
    rows: Int[Tensor, " train"]
    group_ids: Sequence[str]
    """Of the training rows, so that held-out folds do not tear a group."""
    counted: Bool[Tensor, " tokens"]
    """Over all answer tokens: those whose errors count (see `trivial_tokens`)."""
    build: Callable[[torch.Generator], AnswerModel]
    training: TrainConfig
    generation: GenerationConfig
    options: Options | None = None
    """Where an answer is one of the question's options and boosting weighs answers."""

    def tokens_of(self, rows: Int[Tensor, " rows"]) -> Int[Tensor, " tokens"]:
        """The counted answer tokens of these rows."""
        tokens = self.answers.tokens_of(rows)
        return tokens[self.counted[tokens]]

    @property
    def n_samples(self) -> int:
        """What boosting weighs: tokens, or answers."""
        return len(self.rows) if self.generation.boost_unit == "sequence" else len(self.tokens_of(self.rows))


def trivial_tokens(answers: AnswerTokens, tokenizer: PreTrainedTokenizerBase) -> Bool[Tensor, " tokens"]:
    """Tokens that take no knowledge: the end of an answer, and those without a letter or digit."""
    known = {t: not any(c.isalnum() for c in str(tokenizer.decode([t]))) for t in set(answers.targets.tolist())}
    if isinstance(end := tokenizer.eos_token_id, int):
        known[end] = True  # its name has letters
    return torch.tensor([known[t] for t in answers.targets.tolist()], dtype=torch.bool)


def fit_answer_expert(weak: WeakAnswers, state: EnsembleState, config: EnsembleConfig) -> Fitted:
    """Train the next expert of `state` and score it on its own training answers.

    `Fitted.log_probs` holds the true tokens' log-probabilities alone, [training tokens, 1], and `is_wrong` the errors
    of all training tokens: `wrong_samples` makes errors of what is boosted of them.
    """
    module, tokens = _train_on(weak, torch.arange(len(weak.rows)), state, config, state.next_stream)
    scores = score_answers(module, weak.inputs, weak.answers, weak.rows)
    return Fitted(owned_state(module), scores.gold.unsqueeze(1), scores.is_wrong, tokens)


def held_out_errors(
    weak: WeakAnswers, state: EnsembleState, config: EnsembleConfig
) -> tuple[Bool[Tensor, " samples"], int]:
    """Which samples the next expert gets wrong without having seen the answer, by folds; and the tokens read.

    An expert that knows its training answers by heart has no errors there for boosting to follow.
    """
    seed, spent = state.next_stream, 0
    folds = sampling.group_folds(weak.group_ids, config.n_folds, stream(seed, "folds"))
    pieces: dict[int, Tensor] = {}
    for fold in range(config.n_folds):
        inside, outside = (folds != fold).nonzero()[:, 0], (folds == fold).nonzero()[:, 0]
        module, tokens = _train_on(weak, inside, state, config, stream_seed(seed, "fold", fold))
        sizes = [len(_samples_of(weak, outside[i : i + 1])) for i in range(len(outside))]
        pieces.update(zip(outside.tolist(), errors(weak, module, outside).split(sizes), strict=True))
        spent += tokens
    return torch.cat([pieces[i] for i in range(len(weak.rows))]), spent


def errors(weak: WeakAnswers, module: AnswerModel, candidates: Int[Tensor, " candidates"]) -> Bool[Tensor, " samples"]:
    """Which samples of these training rows (positions in weak.rows) the model gets wrong."""
    if weak.options is not None:
        return weak.options.wrong(module, candidates)
    rows = weak.rows[candidates]
    return wrong_samples(weak, score_answers(module, weak.inputs, weak.answers, rows).is_wrong, rows)


def wrong_samples(
    weak: WeakAnswers, is_wrong: Bool[Tensor, " tokens"], rows: Int[Tensor, " rows"]
) -> Bool[Tensor, " samples"]:
    """Errors of these rows' tokens as errors of samples: an answer is wrong if any of its tokens is."""
    if weak.generation.boost_unit == "token":
        return is_wrong[weak.counted[weak.answers.tokens_of(rows)]]
    sizes = weak.answers.offsets.diff()[rows].tolist()
    return torch.tensor([bool(part.any()) for part in is_wrong.split(sizes)])


def prior_error(weak: WeakAnswers, config: EnsembleConfig) -> float:
    """The error, on the same samples, of a reference that knows nothing of the task.

    `pretrained`: the untrained model (the paper's). `unigram`: always the most frequent sample of its kind.
    `chance`: a uniform guess among the distinct answer tokens, or answers. Among a question's options, both are a
    uniform guess.
    """
    if isinstance(config.prior, float):
        return config.prior
    answers, rows = weak.answers, weak.rows
    if config.prior == "pretrained":
        error = float(errors(weak, weak.build(torch.Generator()), torch.arange(len(rows))).float().mean())
    elif weak.options is not None:
        error = 1.0 - float((1.0 / weak.options.sizes).mean())
    else:
        if weak.generation.boost_unit == "token":
            found = answers.targets[weak.tokens_of(rows)].tolist()
        else:
            found = [answers.ids[r][answers.prompt_lengths[r] :] for r in rows.tolist()]
        counts = {sample: found.count(sample) for sample in set(found)}
        share = max(counts.values()) / len(found) if config.prior == "unigram" else 1.0 / len(counts)
        error = 1.0 - share
    return min(max(error, 1e-6), 1.0 - 1e-6)


def token_weights(
    weak: WeakAnswers, candidates: Int[Tensor, " candidates"], share: Float[Tensor, " samples"]
) -> Float[Tensor, " tokens"]:
    """Weights over all answer tokens from D over the samples of these training rows: mean 1 over the samples.

    Tokens that do not count keep weight 1: they must still be learned, or no answer would end.
    """
    weights = torch.ones(len(weak.answers.targets))
    rows = weak.rows[candidates]
    scaled = (share / share.sum() * len(share)).float()
    if weak.generation.boost_unit == "token":
        weights[weak.tokens_of(rows)] = scaled
    else:
        sizes = weak.answers.offsets.diff()[rows]
        weights[weak.answers.tokens_of(rows)] = scaled.repeat_interleave(sizes)
    return weights


def _samples_of(weak: WeakAnswers, candidates: Int[Tensor, " candidates"]) -> Int[Tensor, " samples"]:
    """Positions in D of the samples of these training rows."""
    if weak.generation.boost_unit == "sequence":
        return candidates
    sizes = torch.tensor([len(weak.tokens_of(weak.rows[i : i + 1])) for i in range(len(weak.rows))])
    stops = sizes.cumsum(0)
    spans = [torch.arange(int(stops[i] - sizes[i]), int(stops[i])) for i in candidates.tolist()]
    return torch.cat(spans)


def _train_on(
    weak: WeakAnswers,
    candidates: Int[Tensor, " candidates"],
    state: EnsembleState,
    config: EnsembleConfig,
    seed: int,
) -> tuple[AnswerModel, int]:
    """A module trained on the method's draw from `candidates` (positions in weak.rows), and the tokens it read."""
    chosen = candidates
    weights = torch.ones(len(weak.answers.targets))
    boosts = state.method == "boosting" and bool(state.experts)
    draws = state.method == "bagging" or (boosts and weak.generation.bootstrap)
    if boosts:
        share = state.sample_weights[_samples_of(weak, candidates)]
        if config.reweight == "resample":
            # Drawn tokens are a loss mask with multiplicity; drawn answers would be rows, which is the same.
            drawn = sampling.resample(share / share.sum(), stream(seed, "draw"))
            share = torch.bincount(drawn, minlength=len(share)).double()
        weights = token_weights(weak, candidates, share)
    if draws:
        chosen = candidates[sampling.bootstrap(len(candidates), stream(seed, "bootstrap"))]
    module = weak.build(stream(seed, "init"))
    supervision = AnswerSupervision(weak.answers, weak.rows[chosen], weights)
    train_answers(module, weak.inputs, supervision, weak.training, seed=seed)
    return module, weak.training.epochs * int(weak.inputs.lengths[weak.rows[chosen]].sum())


__all__ = [
    "Options",
    "Scores",
    "WeakAnswers",
    "errors",
    "fit_answer_expert",
    "held_out_errors",
    "prior_error",
    "token_weights",
    "trivial_tokens",
    "wrong_samples",
]
