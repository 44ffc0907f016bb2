"""Merges of changes by hand, against peft, and in expectation."""

import pytest
import torch
from peft.utils.merge_utils import calculate_majority_sign_mask, prune

from ensemw2s.core.merging import Dare, Linear, Ties, low_rank, trimmed
from ensemw2s.core.seeds import stream

MERGES = [Linear(), Ties(), Dare()]
THIRDS = torch.full((3,), 1 / 3, dtype=torch.float64)


def some(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=stream(seed, "changes"), dtype=torch.float64)


def merge(how, changes, weights=THIRDS, seed=0):
    return how(changes, weights, stream(seed, "draws"))


def test_ties_by_hand():
    changes = torch.tensor([[4.0, 1.0, -3.0, 0.5], [-2.0, 0.1, -5.0, 0.2], [1.0, 6.0, 7.0, 0.3]], dtype=torch.float64)
    weights = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
    # Half of four entries are kept: (4, 0, -3, 0), (-2, 0, -5, 0) and (0, 6, 7, 0). Signs of the weighted sums
    # 1.5, 1.5 and -1: so 4 alone, 6 alone, and (0.5 * -3 + 0.25 * -5) / 0.75.
    assert merge(Ties(density=0.5), changes, weights).tolist() == pytest.approx([4.0, 6.0, -2.75 / 0.75, 0.0])


def test_trimming_and_signs_are_pefts():
    changes = some(4, 30, 20)
    kept = torch.stack([trimmed(change, 0.2) for change in changes])
    assert torch.equal(kept, torch.stack([prune(change, 0.2, method="magnitude") for change in changes]))
    weights = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    weighted = weights.view(-1, 1, 1) * kept
    agrees = calculate_majority_sign_mask(weighted) * (kept != 0)
    expected = (weighted * agrees).sum(0) / (weights.view(-1, 1, 1) * agrees).sum(0).clamp_min(1e-12)
    assert torch.allclose(merge(Ties(density=0.2), changes, weights), expected, atol=1e-12)


def test_copies_of_one_change_merge_to_it():
    change = some(7, 5)
    copies, weights = change.expand(3, 7, 5), torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    assert torch.allclose(merge(Linear(), copies, weights), change, rtol=1e-14)
    assert torch.allclose(merge(Ties(), copies, weights), trimmed(change, 0.2), rtol=1e-14)
    for how in (Linear(), Ties(density=1.0), Dare(density=1.0)):
        assert torch.allclose(merge(how, change[None], torch.ones(1)), change, rtol=1e-14)


def test_dare_is_the_mean_in_expectation_and_draws_from_its_generator_alone():
    changes, state = some(3, 50), torch.get_rng_state()
    drawn = torch.stack([merge(Dare(density=0.3), changes, seed=seed) for seed in range(200)])
    error = drawn.std(0) / 200**0.5
    assert ((drawn.mean(0) - merge(Linear(), changes)).abs() < 4 * error).all()
    assert torch.equal(merge(Dare(), changes), merge(Dare(), changes))
    assert not torch.equal(merge(Dare(), changes), merge(Dare(), changes, seed=1))
    assert torch.equal(torch.get_rng_state(), state)


def test_an_expert_without_weight_has_no_part():
    changes = some(3, 40)
    weights = torch.tensor([0.6, 0.4, 0.0], dtype=torch.float64)
    two = merge(Ties(), changes[:2], weights[:2])
    assert torch.equal(merge(Ties(), changes, weights), two)


def test_a_small_tensor_keeps_an_entry():
    assert trimmed(torch.tensor([1.0, -3.0]), 0.2).tolist() == [0.0, -3.0]


@pytest.mark.parametrize("how", [Ties, Dare])
@pytest.mark.parametrize("density", [0.0, -0.1, 1.1])
def test_a_density_outside_its_range_is_refused(how, density):
    with pytest.raises(ValueError, match=f"density is {density}; give a number above 0"):
        how(density=density)


@pytest.mark.parametrize("shape", [(6, 11), (11, 6)])
@pytest.mark.parametrize("rank", [2, 6, 9])
def test_low_rank_is_the_best_approximation(shape, rank):
    matrix = some(*shape)
    a, b = low_rank(matrix, rank)
    assert a.shape == (rank, shape[1])
    assert b.shape == (shape[0], rank)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    assert torch.allclose(b @ a, u[:, :rank] * s[:rank] @ v[:rank], atol=1e-10)
