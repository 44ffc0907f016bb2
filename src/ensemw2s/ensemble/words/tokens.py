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
from ensemw2s.core.seeds import stream
from ensemw2s.ensemble.fit import EnsembleState, FittedExpert, Spent, cross_fitted
from ensemw2s.ensemble.methods import Draw, Samples
from ensemw2s.ensemble.words.choices import likeliest
from ensemw2s.ensemble.words.scores import score_answers
from ensemw2s.models.adapting.adapters import owned_state
from ensemw2s.models.language import AnswerModel
from ensemw2s.records import AnswerTokens, Inputs
from ensemw2s.train.answers import AnswerSupervision, AnswerValidation, train_answers
from ensemw2s.training_end import TrainingEnd


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
        gold = score_answers([module], self.inputs, self.answers, rows).gold[0]
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
    validation: AnswerValidation | None = None
    """Ends a training with `patience`."""

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


def fit_answer_expert(weak: WeakAnswers, state: EnsembleState, config: EnsembleConfig) -> FittedExpert:
    """Train the next expert of `state` and score it on its own training answers.

    `log_probs` of the result holds the true tokens' log-probabilities alone, [training tokens, 1], and `is_wrong` the
    errors of all training tokens: `wrong_samples` makes errors of what is boosted of them.
    """
    module, end, spent = _train_on(weak, torch.arange(len(weak.rows)), state, config, state.next_stream)
    scores = score_answers([module], weak.inputs, weak.answers, weak.rows)
    return FittedExpert(owned_state(module), scores.gold[0].unsqueeze(1), scores.wrong[0], spent, end=end)


def asked_answer_expert(weak: WeakAnswers, model: AnswerModel) -> FittedExpert:
    """An untrained model, scored as `fit_answer_expert` scores a trained one."""
    scores = score_answers([model], weak.inputs, weak.answers, weak.rows)
    return FittedExpert({}, scores.gold[0].unsqueeze(1), scores.wrong[0], Spent())


def held_out_errors(
    weak: WeakAnswers, state: EnsembleState, config: EnsembleConfig
) -> tuple[Bool[Tensor, " samples"], Spent]:
    """Which samples the next expert gets wrong without having seen the answer, by folds; and what the folds read.

    An expert that knows its training answers by heart has no errors there for boosting to follow.
    """

    def judge(inside: Tensor, outside: Tensor, seed: int) -> tuple[Sequence[Tensor], Spent]:
        module, _, spent = _train_on(weak, inside, state, config, seed)
        sizes = [len(_samples_of(weak, outside[i : i + 1])) for i in range(len(outside))]
        return errors(weak, module, outside).split(sizes), spent

    return cross_fitted(weak.group_ids, config.n_folds, state.next_stream, judge)


def errors(weak: WeakAnswers, module: AnswerModel, candidates: Int[Tensor, " candidates"]) -> Bool[Tensor, " samples"]:
    """Which samples of these training rows (positions in weak.rows) the model gets wrong."""
    if weak.options is not None:
        return weak.options.wrong(module, candidates)
    rows = weak.rows[candidates]
    return wrong_samples(weak, score_answers([module], weak.inputs, weak.answers, rows).wrong[0], rows)


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
    weak: WeakAnswers, candidates: Int[Tensor, " candidates"], sample_weights: Float[Tensor, " samples"]
) -> Float[Tensor, " tokens"]:
    """Weights over all answer tokens from weights of mean 1 over the samples of these training rows.

    Tokens that do not count keep weight 1: they must still be learned, or no answer would end.
    """
    weights = torch.ones(len(weak.answers.targets))
    rows = weak.rows[candidates]
    if weak.generation.boost_unit == "token":
        weights[weak.tokens_of(rows)] = sample_weights
    else:
        sizes = weak.answers.offsets.diff()[rows]
        weights[weak.answers.tokens_of(rows)] = sample_weights.repeat_interleave(sizes)
    return weights


def _samples_of(weak: WeakAnswers, candidates: Int[Tensor, " candidates"]) -> Int[Tensor, " samples"]:
    """Positions in D of the samples of these training rows."""
    if weak.generation.boost_unit == "sequence":
        return candidates
    sizes = torch.tensor([len(weak.tokens_of(weak.rows[i : i + 1])) for i in range(len(weak.rows))])
    stops = sizes.cumsum(0)
    spans = [torch.arange(int(stops[i] - sizes[i]), int(stops[i])) for i in candidates.tolist()]
    return torch.cat(spans)


def next_draw(
    weak: WeakAnswers, state: EnsembleState, config: EnsembleConfig, candidates: Int[Tensor, " candidates"], seed: int
) -> Draw:
    """What the next expert, or its counterpart on a fold, learns from these training rows."""
    shares = state.sample_weights[_samples_of(weak, candidates)]
    samples = Samples(shares, len(candidates), are_examples=False)
    return state.next_draw(config, samples, seed, weak.generation)


def _train_on(
    weak: WeakAnswers,
    candidates: Int[Tensor, " candidates"],
    state: EnsembleState,
    config: EnsembleConfig,
    seed: int,
) -> tuple[AnswerModel, TrainingEnd, Spent]:
    """A module trained on the method's draw from `candidates` (positions in weak.rows), and what it read."""
    draw = next_draw(weak, state, config, candidates, seed)
    weights = token_weights(weak, candidates, draw.weights)
    chosen = candidates[draw.rows]
    module = weak.build(stream(seed, "init"))
    supervision = AnswerSupervision(weak.answers, weak.rows[chosen], weights)
    end = train_answers(module, weak.inputs, supervision, weak.training, seed=seed, validation=weak.validation)
    tokens = weak.training.readings_of(end) * int(weak.inputs.lengths[weak.rows[chosen]].sum())
    return module, end, Spent(tokens, end.validations)


__all__ = [
    "Options",
    "WeakAnswers",
    "asked_answer_expert",
    "errors",
    "fit_answer_expert",
    "held_out_errors",
    "next_draw",
    "prior_error",
    "token_weights",
    "trivial_tokens",
    "wrong_samples",
]
