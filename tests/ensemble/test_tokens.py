"""Boosting over answer tokens: which count, what they weigh, and the reference that knows nothing."""

from dataclasses import replace

import pytest
import torch

from ensemw2s.config import CacheConfig, EnsembleConfig, GenerationConfig, ModelConfig
from ensemw2s.data.encode import encode, encode_answers
from ensemw2s.ensemble.fit import EnsembleState, grow
from ensemw2s.ensemble.words.scores import score_answers
from ensemw2s.ensemble.words.tokens import (
    Options,
    WeakAnswers,
    errors,
    fit_answer_expert,
    held_out_errors,
    prior_error,
    token_weights,
    trivial_tokens,
    wrong_samples,
)
from ensemw2s.models.activations import open_activations
from ensemw2s.models.language import AnswerModel
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.storage.store import Store
from tiny_run import stepped

CONFIG = ModelConfig(model="tiny", n_layers=2, adapter="top", top_layers=1)
TEXTS = ["a.", "b", "a", "ab.", "a", "b"]


@pytest.fixture(scope="module")
def weak(tmp_path_factory):
    backbone = load_backbone(CONFIG)
    store = Store(tmp_path_factory.mktemp("store"))

    def make(texts=TEXTS, n_train=4, epochs=4, **changes):
        prompts = [f"Is {i}?" for i in range(len(texts))]
        ids = encode(backbone.tokenizer, prompts, max_length=64, names=prompts)
        answers = encode_answers(backbone.tokenizer, ids, texts, max_length=64, names=prompts)
        generation = GenerationConfig(**changes)
        trivial = trivial_tokens(answers, backbone.tokenizer)
        return WeakAnswers(
            inputs=open_activations(backbone, answers.read, config=CONFIG, cache=CacheConfig(), store=store),
            answers=answers,
            rows=torch.arange(n_train),
            group_ids=[str(i) for i in range(n_train)],
            counted=torch.ones_like(trivial) if generation.count_trivial else ~trivial,
            build=lambda g: AnswerModel(backbone, backbone.unembedding, CONFIG, init_noise=0.1, generator=g),
            training=stepped(epochs=epochs, batch_size=2, learning_rate=0.01),
            generation=generation,
        )

    return make


def test_the_end_and_punctuation_are_trivial(weak):
    counted = weak().counted
    # " a." is a space, a letter, a full stop and the end; the tiny tokenizer's tokens are bytes.
    assert counted.tolist()[:4] == [False, True, False, False]
    assert int(counted.sum()) == sum(len(t.strip(".")) for t in TEXTS)
    assert weak(count_trivial=True).counted.all()


def test_samples_are_counted_tokens_or_whole_answers(weak):
    tokens, sequences = weak(), weak(boost_unit="sequence")
    assert tokens.n_samples == 5
    assert sequences.n_samples == 4
    flat = weak().answers.tokens_of(weak().rows)
    is_wrong = torch.zeros(len(flat), dtype=torch.bool)
    is_wrong[2] = True  # the full stop of the first answer: trivial for tokens, an error of the answer
    assert wrong_samples(tokens, is_wrong, tokens.rows).tolist() == [False] * 5
    assert wrong_samples(sequences, is_wrong, tokens.rows).tolist() == [True, False, False, False]
    is_wrong[1] = True
    assert wrong_samples(tokens, is_wrong, tokens.rows).tolist() == [True, False, False, False, False]


def test_weights_have_mean_one_over_the_samples_and_leave_other_tokens_alone(weak):
    unit = weak()
    weights = token_weights(unit, torch.arange(4), torch.tensor([2.5, 0.625, 0.625, 0.625, 0.625]))
    samples = unit.tokens_of(unit.rows)
    assert weights[samples].tolist() == [2.5, 0.625, 0.625, 0.625, 0.625]
    rest = torch.ones(len(weights), dtype=torch.bool)
    rest[samples] = False
    assert (weights[rest] == 1).all()
    whole = weak(boost_unit="sequence")
    weights = token_weights(whole, torch.arange(4), torch.tensor([2.8, 0.4, 0.4, 0.4]))
    sizes = whole.answers.offsets.diff()[:4].tolist()
    assert weights[: sum(sizes)].tolist() == pytest.approx([2.8] * sizes[0] + [0.4] * sum(sizes[1:]))
    assert (weights[sum(sizes) :] == 1).all()


def test_priors_by_hand(weak):
    unit = weak()  # a, b, a, a, b among the training answers' letters
    assert prior_error(unit, EnsembleConfig(prior=0.3)) == 0.3
    assert prior_error(unit, EnsembleConfig(prior="unigram")) == pytest.approx(0.4)
    assert prior_error(unit, EnsembleConfig(prior="chance")) == pytest.approx(0.5)
    assert 0.5 < prior_error(unit, EnsembleConfig(prior="pretrained")) < 1.0
    whole = weak(boost_unit="sequence")  # four different answers
    assert prior_error(whole, EnsembleConfig(prior="chance")) == pytest.approx(0.75)


@pytest.mark.parametrize("source", ["train", "folds"])
def test_among_options_an_answer_is_wrong_if_another_one_is_likelier(weak, source):
    """Against each option's mean log-probability, one at a time."""
    texts, sizes = ["a.", "b", "ab.", "b", "a", "a", "ba", "b", "abb."], [3, 2, 2, 2]
    listed, plain = weak(texts), weak(boost_unit="sequence")  # the options are rows of their own
    options = Options(listed.inputs, listed.answers, torch.tensor(sizes), torch.tensor([0, 0, 1, 1]))
    one = replace(plain, options=options)
    config = EnsembleConfig(prior="chance", error_source=source, n_folds=2)
    assert prior_error(one, config) == pytest.approx(1 - (1 / 3 + 3 / 2) / 4)
    module = one.build(torch.Generator())
    means = [
        float(score_answers([module], listed.inputs, listed.answers, torch.tensor([i])).gold.mean()) for i in range(9)
    ]
    expected = [
        max(range(n), key=means[first:].__getitem__) != t
        for first, n, t in ((0, 3, 0), (3, 2, 0), (5, 2, 1), (7, 2, 1))
    ]
    assert errors(one, module, torch.arange(4)).tolist() == expected
    assert errors(one, module, torch.tensor([3, 1])).tolist() == [expected[3], expected[1]]
    if source == "folds":
        found, _ = held_out_errors(one, EnsembleState.start("boosting", 0, 4), config)
        assert found.shape == (4,)


@pytest.mark.parametrize("unit", ["token", "sequence"])
@pytest.mark.parametrize("changes", [{}, {"reweight": "resample"}, {"error_source": "folds", "n_folds": 2}])
def test_every_form_of_boosting_grows_and_repeats_itself(weak, unit, changes):
    config = EnsembleConfig(n_rounds=3, prior=0.9, shrinkage=0.5, max_expert_weight=2.0, **changes)
    runs = []
    for _ in range(2):
        one = weak(["a", "a", "b"] * 4, 12, 8, boost_unit=unit, bootstrap=True)
        state = EnsembleState.start("boosting", 0, one.n_samples)
        while not state.finished:
            fitted = fit_answer_expert(one, state, config)
            is_wrong = wrong_samples(one, fitted.is_wrong, one.rows)
            if config.error_source == "folds":
                is_wrong, spent = held_out_errors(one, state, config)
                assert spent.tokens > 0
            fitted = replace(fitted, is_wrong=is_wrong)
            assert len(fitted.is_wrong) == one.n_samples
            state = grow(state, fitted, config, prior_error(one, config))
        runs.append(state)
    assert all(
        torch.equal(a.state[n], b.state[n])
        for a, b in zip(runs[0].experts, runs[1].experts, strict=True)
        for n in a.state
    )
    assert runs[0].sample_weights.sum().item() == pytest.approx(1.0)


def test_flat_weights_train_the_plain_expert(weak):
    """The first expert of every method but bagging is one, and boosting under uniform D is plain training."""
    one = weak()
    config = EnsembleConfig()
    first = fit_answer_expert(one, EnsembleState.start("single", 0, one.n_samples), config)
    for method in ("independent", "boosting"):
        again = fit_answer_expert(one, EnsembleState.start(method, 0, one.n_samples), config)
        assert all(torch.equal(first.state[n], again.state[n]) for n in first.state)
    other = fit_answer_expert(one, EnsembleState.start("bagging", 0, one.n_samples), config)
    assert not all(torch.equal(first.state[n], other.state[n]) for n in first.state)
