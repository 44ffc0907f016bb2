"""Judges against scikit-learn, a planted reward, and what no judge may depend on."""

import torch
from sklearn.linear_model import LogisticRegression
from torch import Generator

from ensemw2s.config import EnsembleConfig, ModelConfig, TrainConfig
from ensemw2s.ensemble.fit import EnsembleState, fit_expert, grow
from ensemw2s.ensemble.words.judges import AnswerPairs, ByPrinciples, direction, judges_in_training
from ensemw2s.models.inputs import PooledInputs

DIM, N = 12, 400
SCALES = torch.tensor([1.0] * 11 + [30.0])


def planted(noise=0.0, seed=0):
    """Pairs of texts whose reward is linear in their features, one of which is much larger than the others."""
    generator = Generator().manual_seed(seed)
    features = torch.randn(2 * N, DIM, generator=generator) * SCALES + 3.0 * SCALES
    reward = torch.randn(DIM, generator=generator) / SCALES
    first, second = torch.arange(N), torch.arange(N, 2 * N)
    lead = (features[first] - features[second]) @ reward + noise * torch.randn(N, generator=generator)
    better, worse = torch.where(lead > 0, first, second), torch.where(lead > 0, second, first)
    inputs = PooledInputs((features,), torch.ones(2 * N, dtype=torch.long))
    return features, reward, inputs, AnswerPairs(better, worse, [str(i) for i in range(N)])


def training(**settings):
    return TrainConfig(solver="lbfgs", **settings).resolved(ModelConfig(), has_optimum=True)


def test_a_judge_is_scikit_learns_logistic_regression_on_mirrored_differences():
    features, _, inputs, pairs = planted(noise=1.0)
    weak = judges_in_training(inputs, DIM, pairs, None, training(l2=0.01))
    found = direction(fit_expert(weak, EnsembleState.start("single", 0, 2 * N), EnsembleConfig()).state)
    scale = features[:256].square().mean(0).sqrt()
    difference = (features[pairs.better] - features[pairs.worse]) / scale
    X, y = torch.cat([difference, -difference]).numpy(), [1] * N + [0] * N
    # Two columns of opposite sign share what one has there: l2/2 (|w/2|^2 + |-w/2|^2) is a quarter of the penalty on w.
    oracle = LogisticRegression(C=2 / (0.01 * 2 * N), fit_intercept=False, tol=1e-10, max_iter=10_000).fit(X, y)
    assert torch.allclose(found * scale, torch.tensor(oracle.coef_[0]).float(), atol=1e-2)


def test_a_planted_reward_is_recovered_by_every_member_of_a_bagged_ensemble():
    _, reward, inputs, pairs = planted()
    held = AnswerPairs(*(part[-80:] for part in pairs))
    learned = AnswerPairs(*(part[:-80] for part in pairs))
    weak, config = judges_in_training(inputs, DIM, learned, held, training()), EnsembleConfig(n_rounds=3)
    state = EnsembleState.start("bagging", 0, len(weak.rows))
    while not state.finished:
        state = grow(state, fit_expert(weak, state, config), config, 0.5)
    found = torch.stack([direction(expert.state) for expert in state.experts])
    cosine = torch.nn.functional.cosine_similarity(found * SCALES, (reward * SCALES).expand_as(found))
    assert len(found) == 3
    assert float(cosine.min()) > 0.95
    assert not torch.equal(found[1], found[2])


def lead_by_length(shown):
    return torch.tensor([float(len(one.first) - len(one.second)) for one in shown])


def test_principles_are_antisymmetric_and_say_nothing_where_the_order_decides():
    judge = ByPrinciples(("long is better", "so it is"), lead_by_length)
    pairs = [("q", "abc", "a"), ("q", "a", "ab"), ("p", "aa", "bb")]
    forth, back = judge.compared(pairs), judge.compared([(q, b, a) for q, a, b in pairs])
    assert torch.equal(forth, -back)
    assert torch.allclose(forth.std(1, correction=0), torch.ones(2))
    always_first = ByPrinciples(("the first",), lambda shown: torch.full((len(shown),), 5.0))
    assert torch.equal(always_first.compared(pairs), torch.zeros(1, 3))
    scores = judge(["q", "p", "nothing"], [["a", "abc", "ab"], ["bb"], []])
    assert [each.shape[1] for each in scores] == [3, 1, 0]
    assert scores[0][0].tolist().index(max(scores[0][0].tolist())) == 1
    assert float(scores[0][0, 0]) == 0.0
