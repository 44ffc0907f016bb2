"""Rounds of experts: boosting by hand, shared first experts, draws, held-out errors, choosing and rating."""

from dataclasses import replace

import pytest
import torch

from ensemw2s.config import DifficultyConfig, EnsembleConfig
from ensemw2s.core.boosting import boost_round
from ensemw2s.core.seeds import stream
from ensemw2s.core.voting import combine
from ensemw2s.ensemble import rate
from ensemw2s.ensemble.fit import EnsembleState, FittedExpert, Spent, Weak, fit_expert, grow, held_out_errors
from ensemw2s.ensemble.label import choose
from ensemw2s.ensemble.learners import trunk as trunk_learner
from ensemw2s.ensemble.learners.trunk import TrunkLearner
from ensemw2s.errors import ModelError
from ensemw2s.models.adapting.head import Head
from ensemw2s.models.inputs import PooledInputs
from ensemw2s.train.samples import Supervision
from tiny_run import stepped

DIM, N, N_TRAIN = 5, 90, 50


def weak(epochs: int = 6) -> tuple[Weak, torch.Tensor]:
    values = torch.randn(N, DIM, generator=stream(0, "values"))
    labels = (values[:, 0] + 0.8 * torch.randn(N, generator=stream(0, "noise")) > 0).long()
    rows = torch.arange(N_TRAIN)
    learner = TrunkLearner(
        inputs=PooledInputs((values,), torch.full((N,), 4)),
        build=lambda g: Head(DIM, 2, 0, 0.0, 0.02, g),
        training=stepped(epochs=epochs, batch_size=16, learning_rate=0.02),
    )
    return (
        Weak(
            learner=learner,
            X=torch.arange(N),
            rows=rows,
            labels=labels[rows],
            group_ids=[str(i // 2) for i in range(N_TRAIN)],
            n_classes=2,
        ),
        labels,
    )


def grown(method: str, config: EnsembleConfig, prior: float = 0.5) -> EnsembleState:
    state = EnsembleState.start(method, 0, N_TRAIN)
    while not state.finished:
        state = grow(state, fit_expert(weak()[0], state, config), config, prior)
    return state


def test_boosting_follows_its_formula_round_by_round():
    config = EnsembleConfig(n_rounds=4, shrinkage=0.7, max_expert_weight=1.5)
    experts = grown("boosting", config).experts
    assert len(experts) == 4
    weights = torch.full((N_TRAIN,), 1 / N_TRAIN, dtype=torch.float64)
    for expert in experts:
        assert torch.equal(expert.sample_weights, weights)
        assert torch.equal(expert.is_wrong, expert.log_probs[:N_TRAIN].argmax(-1) != weak()[1][:N_TRAIN])
        result = boost_round(expert.is_wrong, weights, prior_error=0.5, shrinkage=0.7, max_expert_weight=1.5)
        assert (expert.weighted_error, expert.expert_weight) == (result.weighted_error, result.expert_weight)
        weights = result.sample_weights


def test_single_independent_and_boosting_share_their_first_expert_and_no_other():
    config = EnsembleConfig(n_rounds=2)
    found = {m: grown(m, config).experts for m in ("single", "independent", "boosting", "bagging")}
    first = {m: e[0].state["score.weight"] for m, e in found.items()}
    assert torch.equal(first["single"], first["independent"])
    assert torch.equal(first["single"], first["boosting"])
    assert not torch.equal(first["single"], first["bagging"])
    assert not torch.equal(found["independent"][1].state["score.weight"], found["boosting"][1].state["score.weight"])
    assert {m: len(e) for m, e in found.items()} == {"single": 1, "independent": 2, "boosting": 2, "bagging": 2}


def test_the_second_boosted_expert_answers_to_its_weights():
    first, second = grown("boosting", EnsembleConfig(n_rounds=2)).experts
    under_new_weights = float(second.sample_weights[first.is_wrong].sum())
    assert under_new_weights == pytest.approx(0.5)  # nu = 1, uncapped: the prior
    assert second.weighted_error < under_new_weights


@pytest.fixture
def lessons(monkeypatch) -> list[Supervision]:
    """What every training of an expert was given."""
    given: list[Supervision] = []
    plain = trunk_learner.train

    def train(module, inputs, supervision, *rest, **settings):
        given.append(supervision)
        return plain(module, inputs, supervision, *rest, **settings)

    monkeypatch.setattr(trunk_learner, "train", train)
    return given


def test_independent_experts_read_all_rows_and_bagged_ones_each_a_draw_of_their_own(lessons):
    grown("independent", EnsembleConfig(n_rounds=2))
    everything = torch.arange(N_TRAIN)
    assert all(torch.equal(lesson.rows, everything) for lesson in lessons)
    lessons.clear()
    grown("bagging", EnsembleConfig(n_rounds=3))
    draws = [tuple(lesson.rows.sort().values.tolist()) for lesson in lessons]
    assert len(set(draws)) == 3
    assert all(len(draw) == N_TRAIN and 0.5 < len(set(draw)) / N_TRAIN < 0.8 for draw in draws)  # 1 - 1/e = 0.63
    assert all(torch.equal(lesson.weights, torch.ones(N_TRAIN)) for lesson in lessons)


def test_weighing_scales_the_loss_and_resampling_the_count_of_a_row(lessons):
    by_loss, _ = (grown("boosting", EnsembleConfig(n_rounds=2, reweight=r)) for r in ("loss", "resample"))
    first, weighed, first_again, drawn = lessons
    first_expert, second_expert = by_loss.experts
    assert torch.equal(first.rows, first_again.rows)
    assert torch.equal(weighed.rows, torch.arange(N_TRAIN))
    assert torch.allclose(weighed.weights.double(), second_expert.sample_weights * N_TRAIN, atol=1e-6)
    assert float(weighed.weights.mean()) == pytest.approx(1.0)
    assert torch.equal(drawn.weights, torch.ones(N_TRAIN))
    counts = torch.bincount(drawn.rows, minlength=N_TRAIN).double()
    assert int(counts.sum()) == N_TRAIN
    # At nu = 1 and a prior of 1/2 half of the draws fall on the few rows that the first expert got wrong.
    wrong = first_expert.is_wrong
    assert float(counts[wrong].mean()) > 1.5 * float(counts[~wrong].mean())
    expected = weak()[1][drawn.rows]
    assert torch.equal(drawn.targets.soft.argmax(-1), expected)


def test_held_out_errors_come_from_models_that_did_not_see_the_group(monkeypatch):
    trained_on: list[set[int]] = []
    plain_train, plain_predict = trunk_learner.train, trunk_learner.predict

    def train(module, inputs, supervision, *rest, **settings):
        trained_on.append(set(supervision.rows.tolist()))
        return plain_train(module, inputs, supervision, *rest, **settings)

    def predict(module, inputs, rows, **settings):
        groups = {i // 2 for i in trained_on[-1]}
        assert not groups & {i // 2 for i in rows.tolist()}
        return plain_predict(module, inputs, rows, **settings)

    monkeypatch.setattr(trunk_learner, "train", train)
    monkeypatch.setattr(trunk_learner, "predict", predict)
    state = EnsembleState.start("boosting", 0, N_TRAIN)
    is_wrong, spent = held_out_errors(weak()[0], state, EnsembleConfig(n_folds=5))
    assert len(trained_on) == 5
    assert len(is_wrong) == N_TRAIN
    assert spent == Spent(6 * 4 * 4 * N_TRAIN)


def test_a_first_expert_no_better_than_the_prior_is_an_error_and_a_later_one_is_dropped():
    config = EnsembleConfig(n_rounds=5)
    state = EnsembleState.start("boosting", 0, N_TRAIN)
    fitted = fit_expert(weak()[0], state, config)
    with pytest.raises(ModelError, match="nothing to boost"):
        grow(state, fitted, config, 0.01)
    after = grow(state, fitted, config, 0.5)
    useless = FittedExpert(fitted.state, fitted.log_probs, torch.ones(N_TRAIN, dtype=torch.bool), Spent())
    ended = grow(after, useless, config, 0.5)
    assert ended.finished
    assert ended.experts == after.experts


def test_size_and_temperature_are_chosen_on_validation_rows_alone_and_one_expert_is_the_plain_model():
    experts = grown("independent", EnsembleConfig(n_rounds=3)).experts
    labels = weak()[1]
    val = torch.arange(50, 70)
    config = EnsembleConfig(n_rounds=3, select_by="accuracy")
    chosen = choose(experts, config, val, labels[val], seed=0, prior_error=0.5)
    scores = [
        float(
            (combine(torch.stack([e.log_probs[val] for e in experts[:t]]), torch.ones(t)).argmax(-1) == labels[val])
            .float()
            .mean()
        )
        for t in (1, 2, 3)
    ]
    assert chosen.selected == scores.index(max(scores)) + 1
    for size, voting in ((2, 2), (9, 3)):
        settled = EnsembleConfig(n_rounds=3, select_by=size)
        assert choose(experts, settled, val, labels[val], seed=0, prior_error=0.5).selected == voting
    alone = choose(experts[:1], config, val, labels[val], seed=0, prior_error=0.5)
    plain = (experts[0].log_probs / alone.temperature).log_softmax(-1)
    assert torch.allclose(alone.log_probs(torch.arange(N)), plain, atol=1e-5)
    found = alone.label(torch.arange(70, 90), [f"q{i}" for i in range(20)])
    assert torch.allclose(found.soft.sum(-1), torch.ones(20), atol=1e-5)
    assert torch.equal(found.agreement, torch.ones(20))
    assert len(found.ids) == 20


def test_without_a_temperature_the_vote_is_given_as_it_is():
    experts = grown("independent", EnsembleConfig(n_rounds=3)).experts
    val, labels = torch.arange(50, 70), weak()[1]
    plain = choose(experts, EnsembleConfig(n_rounds=3, temperature="none"), val, labels[val], seed=0, prior_error=0.5)
    assert plain.temperature == 1.0
    members = torch.stack([e.log_probs for e in experts[: plain.selected]])
    vote = combine(members, torch.ones(plain.selected))
    assert torch.allclose(plain.log_probs(torch.arange(N)), vote.log_softmax(-1), atol=1e-5)


def test_no_row_outside_the_validation_part_has_a_say_in_the_choice():
    experts = grown("independent", EnsembleConfig(n_rounds=3)).experts
    val = torch.arange(50, 70)
    noise = torch.randn(N, 2, generator=stream(0, "other")).log_softmax(-1)

    def chosen(changed: torch.Tensor):
        others = tuple(replace(e, log_probs=torch.where(changed[:, None], noise, e.log_probs)) for e in experts)
        found = choose(others, EnsembleConfig(n_rounds=3), val, weak()[1][val], seed=0, prior_error=0.5)
        return found.selected, found.temperature

    is_val = torch.zeros(N, dtype=torch.bool).index_fill(0, val, True)
    nothing = torch.zeros(N, dtype=torch.bool)
    assert chosen(~is_val) == chosen(nothing)
    assert chosen(is_val) != chosen(nothing)


@pytest.mark.parametrize("source", ["entropy", "margin", "p_true"])
def test_no_example_is_rated_by_a_model_that_saw_it(source, monkeypatch):
    task, labels = weak()
    groups = [str(i // 3) for i in range(N)]
    seen: list[set[str]] = []
    plain_train, plain_predict = rate.train, rate.predict

    def train(module, inputs, supervision, *rest, **settings):
        seen.append({groups[i] for i in supervision.rows.tolist()})
        return plain_train(module, inputs, supervision, *rest, **settings)

    def predict(module, inputs, rows, **settings):
        assert not seen[-1] & {groups[i] for i in rows.tolist()}
        return plain_predict(module, inputs, rows, **settings)

    monkeypatch.setattr(rate, "train", train)
    monkeypatch.setattr(rate, "predict", predict)
    config = DifficultyConfig(source=source, n_folds=3, n_labelled=45)

    learner = task.learner

    def rated(with_labels):
        return rate.rate(learner.inputs, with_labels, groups, 2, learner.build, learner.training, config, seed=0)

    found = rated(labels)
    assert len(seen) == 3
    flipped = torch.where(found.set_aside, labels, 1 - labels)
    if source == "p_true":
        assert not found.set_aside.any()
        assert not torch.equal(rated(flipped).difficulty, found.difficulty)
    else:
        assert 45 <= int(found.set_aside.sum()) <= 47
        assert torch.equal(rated(flipped).difficulty, found.difficulty)
