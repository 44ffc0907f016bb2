"""Denoising by judges on planted rewards: it mends where judges learn enough, and its guard holds it back elsewhere."""

import pytest
import torch

from ensemw2s.core.preferences.denoising import SHARES, denoise, guard, lowest, mean_margin
from ensemw2s.core.sampling import group_folds
from ensemw2s.core.seeds import stream

N_EASY, REVERSED = 100, 0.3


def planted(n, reward, generator):
    """Differences of two answers' features, chosen minus rejected, of which some are the wrong way round."""
    features = torch.randn(n, len(reward), generator=generator, dtype=torch.float64)
    features *= (features @ reward).sign()[:, None]
    is_reversed = torch.zeros(n, dtype=torch.bool)
    is_reversed[torch.randperm(n, generator=generator)[: int(REVERSED * n)]] = True
    return torch.where(is_reversed[:, None], -features, features), is_reversed


def judges(features, n_judges, generator):
    """Ridge regressions on bootstraps of pairs, each the right way round as far as a judge knows."""
    draws = [torch.randint(len(features), (len(features),), generator=generator) for _ in range(n_judges)]
    ridge = 10.0 * torch.eye(features.shape[1], dtype=torch.float64)
    return torch.stack([torch.linalg.solve(features[d].T @ features[d] + ridge, features[d].sum(0)) for d in draws])


def margins(weights, features):
    """The judges' mean of each pair."""
    return mean_margin((features @ weights.T).T)


def cross_fitted(features, n_judges, generator):
    """Margins of each pair by judges that did not learn from it."""
    folds, found = group_folds([str(i) for i in range(len(features))], 5, generator), torch.zeros(len(features))
    found = found.double()
    for fold in range(5):
        held = folds == fold
        found[held] = margins(judges(features[~held], n_judges, generator), features[held])
    return found


def setting(seed, n_pairs, dim, n_judges):
    """Reversed hard pairs after flips of a fifth and of the guard's share, and the guard."""
    generator = stream(seed, "denoise", dim)
    reward = torch.randn(dim, generator=generator, dtype=torch.float64)
    hard, is_reversed = planted(n_pairs, reward, generator)
    easy, known = planted(N_EASY, reward, generator)
    weights = judges(hard, n_judges, generator)
    mean = cross_fitted(hard, n_judges, generator)
    found = guard(margins(weights, easy), known)
    after = [float((is_reversed ^ denoise(mean, share).is_flipped).double().mean()) for share in (0.2, found.share)]
    return after, guard(mean, is_reversed).auroc, found


def test_where_judges_learn_enough_a_fifth_is_turned_round():
    seeds = [setting(seed, 600, 8, 10) for seed in range(10)]
    assert {found.share for *_, found in seeds} == {0.2}
    assert min(area for _, area, _ in seeds) > 0.9
    assert all(after[0] == after[1] < 0.15 for after, *_ in seeds)


def test_where_they_do_not_the_guard_holds_them_back():
    seeds = [setting(seed, 300, 200, 4) for seed in range(10)]
    assert max(area for _, area, _ in seeds) < 0.75
    assert sum(found.share == 0.0 for *_, found in seeds) >= 5
    # What a tenth of the easy pairs says is off by a standard deviation of two flips at random.
    assert max(after[1] for after, *_ in seeds) < REVERSED + (0.1 * N_EASY) ** 0.5 / N_EASY
    assert max(after[0] for after, *_ in seeds) > 0.35
    assert all(found.n_reversed[SHARES.index(found.share)] <= REVERSED * N_EASY for *_, found in seeds)


def test_pairs_are_flipped_softened_or_get_a_margin():
    mean = torch.tensor([-2.0, 0.5, -1.0, 3.0, -0.1, 0.0, 1.0, 1.0, 1.0, 1.0])
    found = denoise(mean, 0.2)
    assert found.is_flipped.nonzero()[:, 0].tolist() == [0, 2]
    assert found.margin.tolist() == pytest.approx([2.0, 0.5, 1.0, 3.0, -0.1, 0.0, 1.0, 1.0, 1.0, 1.0])
    assert found.probability.tolist() == pytest.approx([1.0] * 4 + [1 / (1 + 2.718281828**0.1)] + [1.0] * 5)
    nothing = denoise(mean, 0.0)
    assert not nothing.is_flipped.any()
    assert (nothing.probability.tolist(), nothing.margin.tolist()) == ([1.0] * 10, [0.0] * 10)


def test_what_judges_find_right_is_never_turned_round():
    assert lowest(torch.tensor([0.1, -0.1, 0.2, 0.3]), 0.5).tolist() == [False, True, False, False]
    assert lowest(torch.tensor([-1.0] * 10), 0.1).tolist() == [True] + [False] * 9


def test_of_equal_shares_the_guard_takes_the_smaller():
    # One of the two lowest is reversed: turning both round leaves as many as turning none.
    mean = torch.tensor([-2.0, -1.0] + [1.0] * 8)
    is_reversed = torch.tensor([False, True] + [False] * 8)
    assert guard(mean, is_reversed)[:2] == (0.0, (1, 2, 1))
    assert guard(mean.flip(0)[[9, 8, *range(8)]], is_reversed).auroc == pytest.approx(8 / 9)
    nobody = guard(torch.zeros(0), torch.zeros(0, dtype=torch.bool))
    assert nobody == (0.0, (0, 0, 0), 0, None)
