"""Pools of weak models: which member makes a round's expert, by hand; and TF-IDF against scikit-learn."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from ensemw2s import WeakEnsemble
from ensemw2s.config import EnsembleConfig, ModelConfig
from ensemw2s.core.boosting import boost_round
from ensemw2s.core.seeds import stream
from ensemw2s.ensemble.fit import EnsembleState, FittedExpert, Spent, Weak, grow
from ensemw2s.ensemble.learners.tfidf import TfidfLearner, TfidfModel, Words
from ensemw2s.ensemble.pool import PlainMember, next_expert
from ensemw2s.errors import ModelError
from ensemw2s.train.samples import Validation

N = 80


def halves(flip: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    """Column k tells the class of the k-th half of the rows, and is noise on the other."""
    labels = torch.arange(N) % 2
    signs = 2.0 * labels - 1
    X = torch.randn(N, 2, generator=stream(0, "noise"))
    for column in range(2):
        half = slice(column * N // 2, (column + 1) * N // 2)
        noisy = torch.rand(N // 2, generator=stream(column, "flip")) < flip
        X[half, column] = torch.where(noisy, -1.0, 1.0) * signs[half] * 5
    return X, labels


@dataclass(frozen=True)
class OneColumn:
    """Knows the classes from the sign of one column; notes how often it learns."""

    column: int
    learned: list[int]

    def fit(self, X, target, sample_weight, *, seed):
        self.learned.append(len(X))
        return self

    def log_probs(self, X):
        column = torch.as_tensor(X)[:, self.column].float()
        return torch.stack([-column, column], 1).log_softmax(-1)

    def state(self):
        return {}


def members(config):
    X, labels = halves()
    groups = [str(row) for row in range(N)]
    learners = [OneColumn(0, []), OneColumn(1, [])]
    weak = [Weak(each, X, torch.arange(N), labels, groups, 2) for each in learners]
    return [PlainMember(each, config) for each in weak], learners


def test_boosting_takes_the_member_of_least_held_out_error_and_so_alternates_between_halves():
    config = EnsembleConfig(n_rounds=4, n_folds=4)
    pool, learners = members(config)
    X, labels = halves()
    wrong = [(X[:, k] > 0).long() != labels for k in range(2)]
    weights, state = torch.full((N,), 1 / N, dtype=torch.float64), EnsembleState.start("boosting", 0, N)
    while not state.finished:
        errors = [float((weights * each).sum()) for each in wrong]
        best = errors.index(min(errors))
        state = grow(state, next_expert(pool, state, config, lambda *_: 0.0), config, 0.5)
        expert = state.experts[-1]
        assert expert.member == best
        assert [each.figure for each in expert.considered] == pytest.approx(errors)
        assert {(each.n_learned, each.n_evaluated) for each in expert.considered} == {(3 * N, N)}
        weights = boost_round(wrong[best], weights, prior_error=0.5, max_expert_weight=4.0).sample_weights
    taken = [expert.member for expert in state.experts]
    assert taken in ([0, 1, 0, 1], [1, 0, 1, 0])
    # The one that is taken learns once from everything; each learns on every fold.
    assert [len(each.learned) for each in learners] == [4 * 4 + 2, 4 * 4 + 2]


@pytest.mark.parametrize("method", ["independent", "bagging"])
def test_other_methods_deal_the_members_round_in_turn(method):
    config = EnsembleConfig(n_rounds=3)
    pool, learners = members(config)
    state = EnsembleState.start(method, 0, N)
    while not state.finished:
        state = grow(state, next_expert(pool, state, config, lambda *_: 0.0), config, 0.5)
    assert [(expert.member, expert.considered) for expert in state.experts] == [(0, ()), (1, ()), (0, ())]
    assert [len(each.learned) for each in learners] == [2, 1]


@pytest.mark.parametrize(("accuracy", "best"), [((0.6, 0.7), 1), ((0.7, 0.7), 0)])
def test_single_takes_the_member_that_is_best_on_validation_data(accuracy, best):
    config = EnsembleConfig()
    pool, _ = members(config)
    fitted = next_expert(pool, EnsembleState.start("single", 0, N), config, lambda place, _: accuracy[place])
    assert fitted.member == best
    assert [each.figure for each in fitted.considered] == list(accuracy)
    assert [each.n_learned for each in fitted.considered] == [0 if place == best else N for place in range(2)]


def test_of_one_member_boosting_follows_the_errors_that_the_settings_name():
    for source, n in (("train", 1), ("folds", 6)):
        config = EnsembleConfig(error_source=source)
        pool, learners = members(config)
        fitted = next_expert(pool[:1], EnsembleState.start("boosting", 0, N), config, lambda *_: 0.0)
        assert (fitted.member, fitted.considered, len(learners[0].learned)) == (0, (), n)


def test_a_dropped_round_ends_the_ensemble_of_a_pool_too():
    config, useless = EnsembleConfig(n_rounds=3), torch.ones(N, dtype=torch.bool)

    class Useless:
        def fit(self, state):
            return FittedExpert({}, torch.zeros(N, 2), useless, Spent())

        def held_out(self, state):
            return useless, Spent()

    pool, _ = members(config)
    first = grow(
        EnsembleState.start("boosting", 0, N),
        next_expert(pool, EnsembleState.start("boosting", 0, N), config, lambda *_: 0.0),
        config,
        0.5,
    )
    ended = grow(first, next_expert([Useless(), Useless()], first, config, lambda *_: 0.0), config, 0.5)
    assert ended.finished
    assert ended.experts == first.experts


def test_the_estimator_follows_the_same_rule():
    X, labels = (each.numpy() for each in halves())
    boosted = WeakEnsemble([OneColumn(0, []), OneColumn(1, [])], n_rounds=4, validation_fraction=0, random_state=0)
    taken = boosted.fit(X, labels).members_.tolist()
    assert taken in ([0, 1, 0, 1], [1, 0, 1, 0])
    pool = [OneColumn(0, []), OneColumn(1, [])]
    for shown, best in ((0, 0), (1, 1)):
        half = slice(shown * N // 2, (shown + 1) * N // 2)
        single = WeakEnsemble(pool, "single", validation_fraction=0.5, random_state=0).fit(X[half], labels[half])
        assert single.members_.tolist() == [best]


TEXTS = [f"{word} {i % 7}!" for i in range(30) for word in ("good fine", "bad poor", "so so")]


def words() -> tuple[TfidfLearner, torch.Tensor]:
    labels = torch.arange(90) % 3
    val = torch.arange(60, 90)
    return TfidfLearner(Words(TEXTS, torch.arange(60)), Validation(val, labels[val])), labels


@pytest.mark.parametrize("classes", [(0, 1, 2), (0, 2), (1,)])
def test_a_saved_regression_on_words_answers_as_the_fitted_one_also_where_it_saw_few_classes(classes):
    learner, labels = words()
    rows = torch.tensor([row for row in range(60) if int(labels[row]) in classes])
    weights = torch.rand(len(rows), generator=stream(0, "weights"))
    target = torch.nn.functional.one_hot(labels[rows], 3).float()
    fitted = learner.fit(rows, target, weights, seed=0)
    saved = TfidfModel({name: tensor.clone() for name, tensor in fitted.state().items()}, 3)
    everything = fitted.log_probs(torch.arange(90))
    assert torch.allclose(saved.log_probs(TEXTS), everything, atol=1e-6)
    assert set(everything.argmax(-1).tolist()) == set(classes)
    assert everything.isfinite().all()
    if len(classes) > 1:
        theirs = LogisticRegression(C=100.0, max_iter=1000)  # what is separable is likeliest with the least penalty
        theirs.fit(learner.words.matrix[rows.numpy()], labels[rows].numpy(), weights.double().numpy())
        asked = theirs.predict_proba(learner.words.matrix)
        assert np.allclose(everything.exp()[:, list(classes)], asked, atol=1e-5)


@pytest.mark.parametrize("name", ["weight", "idf", "tokens"])
def test_tensors_of_words_that_do_not_fit_are_refused(name):
    learner, labels = words()
    target = torch.nn.functional.one_hot(labels[:60], 3).float()
    state = learner.fit(torch.arange(60), target, torch.ones(60), seed=0).state()
    with pytest.raises(ModelError, match="TF-IDF"):
        TfidfModel(state | {name: state[name][..., :-9]}, 3)
    with pytest.raises(ModelError, match="TF-IDF"):
        TfidfModel({key: tensor for key, tensor in state.items() if key != name}, 3)


def test_tf_idf_is_a_name_in_the_estimators_too():
    texts, labels = TEXTS[:60], (["pos", "neg", "mid"] * 20)
    ensemble = WeakEnsemble(["tf-idf", ModelConfig(model="tf-idf")], "independent", n_rounds=2, random_state=0)
    assert ensemble.fit(texts, labels).score(texts, labels) == 1.0
