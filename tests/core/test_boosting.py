import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ensemw2s.core.boosting import boost_round, chance_error


def logit(p: float) -> float:
    return math.log(p / (1 - p))


@st.composite
def rounds(draw):
    n = draw(st.integers(3, 40))
    wrong = draw(st.lists(st.booleans(), min_size=n, max_size=n).filter(lambda w: any(w) and not all(w)))
    raw = draw(st.lists(st.floats(0.01, 1.0), min_size=n, max_size=n))
    weights = torch.tensor(raw, dtype=torch.float64)
    return torch.tensor(wrong), weights / weights.sum()


@given(rounds(), st.floats(0.05, 0.99), st.floats(0.05, 1.0))
def test_the_new_error_moves_from_the_old_towards_the_prior_by_the_shrinkage_in_logits(case, prior, nu):
    wrong, weights = case
    result = boost_round(wrong, weights, prior_error=prior, shrinkage=nu)
    assert float(result.sample_weights.sum()) == pytest.approx(1.0, abs=1e-12)
    if result.outcome != "continue":
        assert torch.equal(result.sample_weights, weights)
        return
    after = float(result.sample_weights[wrong].sum())
    expected = (1 - nu) * logit(result.weighted_error) + nu * logit(prior)
    assert logit(after) == pytest.approx(expected, abs=1e-8)
    if nu == 1.0:
        assert after == pytest.approx(prior, abs=1e-10)


@given(rounds(), st.randoms(use_true_random=False))
def test_permuting_the_samples_permutes_the_weights(case, random):
    wrong, weights = case
    order = list(range(len(wrong)))
    random.shuffle(order)
    plain = boost_round(wrong, weights, prior_error=0.9)
    shuffled = boost_round(wrong[order], weights[order], prior_error=0.9)
    assert shuffled.expert_weight == pytest.approx(plain.expert_weight)
    assert torch.allclose(shuffled.sample_weights, plain.sample_weights[order], atol=1e-12)


def test_a_perfect_expert_gets_the_cap_and_keeps_the_weights():
    weights = torch.full((4,), 0.25, dtype=torch.float64)
    result = boost_round(torch.zeros(4, dtype=torch.bool), weights, prior_error=0.5, max_expert_weight=3.0)
    assert (result.outcome, result.expert_weight, result.weighted_error) == ("perfect", 3.0, 0.0)
    assert torch.equal(result.sample_weights, weights)


def test_an_expert_at_the_prior_has_no_vote_and_a_better_one_is_capped():
    weights = torch.full((4,), 0.25, dtype=torch.float64)
    half = torch.tensor([True, True, False, False])
    assert boost_round(half, weights, prior_error=0.5).outcome == "no_better_than_prior"
    quarter = torch.tensor([True, False, False, False])
    free = boost_round(quarter, weights, prior_error=chance_error(3))
    assert free.expert_weight == pytest.approx(math.log(3) + math.log(2))
    capped = boost_round(quarter, weights, prior_error=chance_error(3), max_expert_weight=0.5)
    assert capped.expert_weight == 0.5
    raised = 0.25 * math.exp(0.5)
    assert float(capped.sample_weights[0]) == pytest.approx(raised / (raised + 0.75))


def test_experts_that_repeat_one_error_pattern_show_rising_errors_by_arithmetic_alone():
    wrong = torch.zeros(1000, dtype=torch.bool)
    wrong[:400] = True
    weights = torch.full((1000,), 0.001, dtype=torch.float64)
    errors = []
    for _ in range(6):
        result = boost_round(wrong, weights, prior_error=0.97, shrinkage=0.3)
        errors.append(result.weighted_error)
        weights = result.sample_weights
    expected = [logit(0.4)]
    for _ in range(5):
        expected.append(0.7 * expected[-1] + 0.3 * logit(0.97))
    assert [logit(e) for e in errors] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("weights", "settings"),
    [
        ([0.5, 0.6], {"prior_error": 0.5}),
        ([1.5, -0.5], {"prior_error": 0.5}),
        ([0.5, 0.5], {"prior_error": 1.0}),
        ([0.5, 0.5], {"prior_error": 0.5, "shrinkage": 0.0}),
        ([0.5, 0.5], {"prior_error": 0.5, "max_expert_weight": 0.0}),
    ],
)
def test_arguments_out_of_range_are_refused(weights, settings):
    with pytest.raises(ValueError, match=r"prior_error|sample_weights|shrinkage"):
        boost_round(torch.tensor([True, False]), torch.tensor(weights, dtype=torch.float64), **settings)
