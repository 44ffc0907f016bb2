"""The gate over members: planted experts of disjoint regions, identical experts, and the soft vote as its start."""

import pytest
import torch

from ensemw2s.core.gating import Gate, fit_gate, gated_stages, shows_gain
from ensemw2s.core.seeds import stream
from ensemw2s.core.voting import staged

DIM = 16


def planted(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two experts of two classes, each right with 0.95 on one side of the first feature and with 0.5 on the other."""
    draws = stream(seed, "plant")
    features = torch.randn(n, DIM, generator=draws, dtype=torch.float64)
    labels = torch.randint(2, (n,), generator=draws)
    knows = torch.stack([features[:, 0] > 0, features[:, 0] <= 0])
    right = torch.rand(2, n, generator=draws) < torch.where(knows, 0.95, 0.5)
    answers = torch.where(right, labels, 1 - labels)
    probabilities = torch.where(torch.nn.functional.one_hot(answers, 2).bool(), 0.9, 0.1)
    return probabilities.log(), labels, features


def last(stages) -> torch.Tensor:
    *_, found = stages
    return found


def accuracy(log_probs, labels) -> float:
    return float((log_probs.argmax(-1) == labels).double().mean())


def test_a_gate_finds_the_regions_in_which_each_member_is_right():
    log_probs, labels, features = planted(400, 0)
    gate = fit_gate(log_probs, labels, features, torch.ones(2), l2=1e-2)
    log_probs, labels, features = planted(2000, 1)
    gated = last(gated_stages(log_probs, torch.ones(2), gate.scores(features)))
    assert accuracy(last(staged(log_probs, torch.ones(2))), labels) < 0.76
    assert accuracy(gated, labels) > 0.90
    assert float(gate.weight[0, 0]) > 0 > float(gate.weight[1, 0])


def test_over_identical_members_it_is_their_mean():
    log_probs, labels, features = planted(200, 0)
    alike = log_probs[:1].expand(3, -1, -1)
    gate = fit_gate(alike, labels, features, torch.ones(3), l2=1e-2)
    gated = last(gated_stages(alike, torch.ones(3), gate.scores(features)))
    assert torch.allclose(gated, log_probs[0].float(), atol=1e-6)


@pytest.mark.parametrize("weights", [[1.0, 1.0], [0.7, 2.1], [0.0, 0.0], [0.0, 1.0]])
def test_without_weights_of_its_own_it_is_the_soft_vote_of_every_size(weights):
    log_probs, _, features = planted(50, 0)
    nothing = Gate(torch.zeros(2, DIM), torch.zeros(DIM), torch.ones(DIM))
    given = torch.tensor(weights)
    each = zip(gated_stages(log_probs, given, nothing.scores(features)), staged(log_probs, given), strict=True)
    for gated, soft in each:
        assert torch.allclose(gated, soft, atol=1e-6)


def test_the_gradient_is_zero_at_the_optimum():
    log_probs, labels, features = planted(150, 2)
    gate = fit_gate(log_probs, labels, features, torch.tensor([1.0, 0.5]), l2=0.1)
    weight = gate.weight.clone().requires_grad_()
    z = (features - features.mean(0)) / features.std(0, correction=0)
    shares = (weight @ z.T + torch.tensor([[1.0], [0.5]]).double().log()).softmax(0)
    truth = log_probs[:, torch.arange(150), labels].exp().double()
    (0.1 * weight.square().sum() - (shares * truth).sum(0).log().mean()).backward()
    assert weight.grad is not None
    assert float(weight.grad.abs().max()) < 1e-4


def gain_of_a_gate(members, labels, features) -> torch.Tensor:
    """On the second half of the items, of a gate that learned from the first half."""
    first, second = slice(0, len(labels) // 2), slice(len(labels) // 2, None)
    gate = fit_gate(members[:, first], labels[first], features[first], torch.ones(len(members)), l2=1e-2)
    asked, truth = members[:, second], labels[second]
    gated = last(gated_stages(asked, torch.ones(len(members)), gate.scores(features[second])))
    soft = last(staged(asked, torch.ones(len(members))))
    return (gated - soft)[torch.arange(len(truth)), truth]


@pytest.mark.parametrize("seed", range(4))
def test_held_out_items_show_what_a_gate_is_worth(seed):
    log_probs, labels, features = planted(400, seed)
    groups = torch.arange(200)
    assert shows_gain(gain_of_a_gate(log_probs, labels, features), groups)
    useless = torch.randn(400, DIM, generator=stream(seed, "useless"), dtype=torch.float64)
    assert not shows_gain(gain_of_a_gate(log_probs, labels, useless), groups)
    alike = log_probs[:1].expand(2, -1, -1)
    assert not shows_gain(gain_of_a_gate(alike, labels, features), groups)


def test_a_constant_feature_changes_nothing():
    log_probs, labels, features = planted(100, 0)
    more = torch.cat([features, torch.full((100, 1), 7.0)], dim=1)
    plain, with_constant = (fit_gate(log_probs, labels, x, torch.ones(2), l2=0.1) for x in (features, more))
    assert torch.allclose(with_constant.scores(more), plain.scores(features), atol=1e-4)


def test_a_gain_is_shown_by_many_groups_and_not_by_one_or_by_chance():
    n = torch.arange(40)
    assert shows_gain(torch.ones(40) + 0.1 * n, n)
    assert not shows_gain(torch.ones(40), torch.zeros(40, dtype=torch.long))
    assert not shows_gain(torch.zeros(40), n)
    assert not shows_gain(-torch.ones(40), n)
    assert not shows_gain((n == 0).double(), n)  # one item of forty
    assert not shows_gain(torch.full((40,), 1e-8), n)  # rounding
    assert not shows_gain(torch.where(n < 20, 1.0, 0.0), (n >= 20).long())  # all of it from one of two groups
