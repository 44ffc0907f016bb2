import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemw2s.core.voting import agreement, combine, staged

VOTES = ("soft", "hard", "log")


def some(n_experts: int, n: int = 7, k: int = 3, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_experts, n, k, generator=generator).log_softmax(-1)


@pytest.mark.parametrize("vote", ["soft", "log"])
def test_one_expert_is_the_plain_model(vote):
    log_probs = some(1)
    assert torch.allclose(combine(log_probs, torch.tensor([2.5]), vote=vote), log_probs[0], atol=1e-6)


@settings(max_examples=30)
@given(st.sampled_from(VOTES), st.lists(st.floats(0.0, 3.0), min_size=1, max_size=6), st.integers(0, 99))
def test_the_last_stage_is_the_full_vote_and_each_stage_the_vote_of_its_experts(vote, weights, seed):
    log_probs, alphas = some(len(weights), seed=seed), torch.tensor(weights)
    stages = list(staged(log_probs, alphas, vote=vote))
    assert len(stages) == len(weights)
    for t, stage in enumerate(stages, start=1):
        assert torch.allclose(stage, combine(log_probs[:t], alphas[:t], vote=vote), atol=1e-6)
        assert torch.allclose(stage.exp().sum(-1), torch.ones(len(stage)), atol=1e-5)
        assert stage.isfinite().all()


@pytest.mark.parametrize("vote", VOTES)
def test_the_order_of_the_experts_does_not_matter(vote):
    log_probs, alphas = some(5), torch.tensor([0.1, 2.0, 0.7, 0.0, 1.1])
    order = torch.tensor([3, 1, 4, 0, 2])
    assert torch.allclose(
        combine(log_probs, alphas, vote=vote), combine(log_probs[order], alphas[order], vote=vote), atol=1e-6
    )


def test_the_three_votes_by_hand():
    log_probs = torch.tensor([[[0.9, 0.1]], [[0.4, 0.6]]]).log()
    alphas = torch.tensor([1.0, 3.0])
    soft = combine(log_probs, alphas).exp()[0]
    assert soft.tolist() == pytest.approx([(0.9 + 3 * 0.4) / 4, (0.1 + 3 * 0.6) / 4], abs=1e-6)
    assert combine(log_probs, alphas, vote="hard").exp()[0].tolist() == pytest.approx([0.25, 0.75], abs=1e-6)
    a, b = 0.9**0.25 * 0.4**0.75, 0.1**0.25 * 0.6**0.75
    assert combine(log_probs, alphas, vote="log").exp()[0].tolist() == pytest.approx(
        [a / (a + b), b / (a + b)], abs=1e-6
    )


def test_weights_that_are_all_zero_count_as_equal():
    log_probs = some(3)
    assert torch.allclose(combine(log_probs, torch.zeros(3)), combine(log_probs, torch.ones(3)), atol=1e-6)


def test_no_expert_or_a_negative_weight_is_refused():
    for weights in ([], [1.0, -0.1]):
        with pytest.raises(ValueError, match="at least one expert"):
            combine(some(len(weights)), torch.tensor(weights))


def test_agreement_is_the_share_of_experts_with_the_votes_answer():
    log_probs = torch.tensor([[[0.9, 0.1]], [[0.8, 0.2]], [[0.3, 0.7]]]).log()
    combined = combine(log_probs, torch.ones(3))
    assert agreement(log_probs, combined).tolist() == pytest.approx([2 / 3])
    assert math.isclose(float(combined.exp()[0, 0]), 2 / 3, abs_tol=1e-6)
