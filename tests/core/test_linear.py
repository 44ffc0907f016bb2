"""The optimum of linear classifiers, against scikit-learn and by its own conditions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import cross_entropy, one_hot

from ensemw2s.core.linear import LinearFitter, best_penalty
from ensemw2s.core.losses import GlobalStats, WeakBatch
from ensemw2s.core.losses.targets import Smoothing
from ensemw2s.core.seeds import stream


def data(n: int, dim: int, k: int, seed: int = 0, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    g = stream(seed, "linear")
    x = torch.randn(n, dim, generator=g, dtype=torch.float64)
    weight = torch.randn(dim, k, generator=g, dtype=torch.float64)
    y = torch.multinomial((x @ weight / dim**0.5).softmax(-1), 1, generator=g)[:, 0]
    x[:, 0] *= scale  # one direction of large magnitude, as in language models
    return x, y


@pytest.mark.parametrize(("n", "dim"), [(200, 12), (40, 90)], ids=["more rows", "more features"])
@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_it_is_the_logistic_regression_of_scikit_learn(n, dim, k, scale):
    x, y = data(n, dim, k, scale=scale)
    l2 = 0.02
    weights = torch.rand(n, generator=stream(0, "weights"), dtype=torch.float64) + 0.5
    weights /= weights.mean()
    fit = LinearFitter(x).fit(lambda z: (weights * cross_entropy(z, y, reduction="none")).mean(), k, l2)
    assert fit.converged
    # Of two classes scikit-learn has one weight, ours are two: w and -w, each half of it.
    c = (2.0 if k == 2 else 1.0) / (l2 * n)
    theirs = LogisticRegression(C=c, fit_intercept=False, tol=1e-12, max_iter=100_000, solver="newton-cg")
    theirs.fit(x.numpy(), y.numpy(), sample_weight=weights.numpy())
    expected = theirs.predict_log_proba(x.numpy())
    found = (x @ fit.weight.T).log_softmax(-1).numpy()
    assert np.abs(np.exp(found) - np.exp(expected)).max() < 1e-4
    assert fit.loss == pytest.approx(float(np.mean(weights.numpy() * -expected[np.arange(n), y])), abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(5, 60), st.integers(2, 40), st.integers(2, 5), st.integers(0, 10**6))
def test_the_gradient_is_zero_with_soft_targets_and_any_weights(n, dim, k, seed):
    x, _ = data(n, dim, k, seed)
    g = stream(seed, "targets")
    soft = torch.rand(n, k, generator=g, dtype=torch.float64).softmax(-1)
    weights = torch.rand(n, generator=g, dtype=torch.float64)
    fit = LinearFitter(x).fit(lambda z: (weights * cross_entropy(z, soft, reduction="none")).mean(), k, 0.05)
    w = fit.weight.clone().requires_grad_()
    loss = (weights * cross_entropy(x @ w.T, soft, reduction="none")).mean() + 0.025 * w.square().sum()
    (gradient,) = torch.autograd.grad(loss, w)
    assert float(gradient.abs().max()) < 1e-5
    assert fit.evaluations < 200


def test_a_weaker_penalty_fits_more_closely_and_the_start_does_not_matter():
    x, y = data(60, 20, 3)
    fitter = LinearFitter(x)

    def objective(z):
        return cross_entropy(z, y)

    losses = [fitter.fit(objective, 3, l2).loss for l2 in (1.0, 0.1, 0.01, 0.001)]
    assert losses == sorted(losses, reverse=True)
    cold = fitter.fit(objective, 3, 0.01)
    warm = fitter.fit(objective, 3, 0.01, start=fitter.fit(objective, 3, 1.0).weight)
    assert torch.allclose(cold.weight, warm.weight, atol=1e-5)


def test_columns_of_zeros_and_equal_rows_are_no_trouble():
    x, y = data(50, 10, 2)
    zeros = torch.cat([x, torch.zeros(50, 5, dtype=torch.float64)], dim=1)
    plain = LinearFitter(x).fit(lambda z: cross_entropy(z, y), 2, 0.1).weight
    padded = LinearFitter(zeros).fit(lambda z: cross_entropy(z, y), 2, 0.1).weight
    assert torch.allclose(padded[:, :10], plain, atol=1e-6)
    assert torch.equal(padded[:, 10:], torch.zeros(2, 5, dtype=torch.float64))
    twice = LinearFitter(x.repeat(2, 1)).fit(lambda z: cross_entropy(z, y.repeat(2)), 2, 0.1).weight
    assert torch.allclose(twice, plain, atol=1e-6)


def test_the_penalty_of_least_held_out_loss_is_chosen_and_of_equals_the_stronger():
    x, y = data(80, 60, 2)
    other, truth = data(400, 60, 2, seed=0)
    inside = LinearFitter(x[:40])
    trial = (inside, lambda z: cross_entropy(z, y[:40]), lambda w: float(cross_entropy(other @ w.T, truth)))
    penalties = (10.0, 1.0, 0.1, 0.01)
    chosen, _ = best_penalty([trial], 2, penalties)
    fits = {l2: inside.fit(trial[1], 2, l2).weight for l2 in penalties}
    assert chosen == min(penalties, key=lambda l2: trial[2](fits[l2]))
    assert best_penalty([(inside, trial[1], lambda w: 1.0)], 2, penalties) == (10.0, 1.0)


def test_smoothing_has_an_optimum_too():
    x, y = data(60, 8, 3)
    batch = WeakBatch(soft=0.8 * one_hot(y, 3).double() + 0.2 / 3)
    loss = Smoothing()
    fit = LinearFitter(x).fit(lambda z: loss(z, batch, GlobalStats(), train_frac=1.0).mean(), 3, 0.01)
    assert fit.converged
