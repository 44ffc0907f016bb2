import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import one_hot

from ensemw2s.core.losses import CrossEntropy, GlobalStats, LogConf, WeakBatch, global_stats
from ensemw2s.tables import LOSSES


def batch(n: int = 8, k: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, k, generator=generator), torch.randn(n, k, generator=generator).softmax(-1)


def published_hardening(logits: torch.Tensor, soft: torch.Tensor) -> torch.Tensor:
    """The quantile rule for two classes: as many ones as the mean weak label says, to the largest log-odds."""
    n_ones = int((soft[:, 1].double().mean() * len(soft)).round())
    odds = logits[:, 1] - logits[:, 0]
    hardened = torch.zeros(len(logits), dtype=torch.long)
    hardened[odds.argsort(descending=True)[:n_ones]] = 1
    return hardened


def test_logconf_by_hand():
    logits, soft = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.4, 0.6], [0.7, 0.3]])
    # The mean of class 1 is .45, so one of the two is hardened to 1: the second, with the larger log-odds.
    loss = LogConf(aux_coef=0.5, warmup_frac=0.2)
    found = loss(logits, WeakBatch(soft=soft), global_stats(logits, soft), train_frac=0.1)
    c = 0.25
    logs = logits.log_softmax(-1)
    first = -((1 - c) * (0.4 * logs[0, 0] + 0.6 * logs[0, 1]) + c * logs[0, 0])
    second = -((1 - c) * (0.7 * logs[1, 0] + 0.3 * logs[1, 1]) + c * logs[1, 1])
    assert found.tolist() == pytest.approx([float(first), float(second)], abs=1e-6)


@pytest.mark.parametrize("loss", [LogConf(aux_coef=0.0), LogConf(aux_coef=0.7, warmup_frac=0.3)])
def test_logconf_without_its_auxiliary_term_is_cross_entropy_exactly(loss):
    logits, soft = batch()
    found = loss(logits, WeakBatch(soft=soft), global_stats(logits, soft), train_frac=0.0)
    assert torch.equal(found, CrossEntropy()(logits, WeakBatch(soft=soft), GlobalStats(), train_frac=0.0))


def test_the_ramp_is_linear_to_its_end_and_constant_after():
    logits, soft = batch()
    stats, loss = global_stats(logits, soft), LogConf(aux_coef=1.0, warmup_frac=0.4)
    at = [loss(logits, WeakBatch(soft=soft), stats, train_frac=u) for u in (0.0, 0.1, 0.2, 0.4, 0.9)]
    assert torch.allclose(at[2] - at[0], 2 * (at[1] - at[0]), atol=1e-6)
    assert torch.allclose(at[3] - at[0], 4 * (at[1] - at[0]), atol=1e-6)
    assert torch.equal(at[3], at[4])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(0, 10**6))
def test_two_classes_are_hardened_as_published(n, seed):
    logits, soft = batch(n, 2, seed)
    stats = global_stats(logits, soft)
    expected = published_hardening(logits, soft)
    exact = float(soft[:, 1].double().mean() * n)
    if abs(exact - math.floor(exact) - 0.5) < 1e-6:
        return  # a tie of the rounding
    assert torch.equal((logits + stats.class_bias).argmax(-1), expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 5), st.integers(4, 40), st.integers(0, 10**6))
def test_more_classes_are_hardened_to_the_counts_of_the_weak_labels(k, n, seed):
    logits, soft = batch(n, k, seed)
    hardened = one_hot((logits + global_stats(logits, soft).class_bias).argmax(-1), k).sum(0)
    exact = soft.double().mean(0) * n
    # Examples at the price of a boundary are tied between two classes; each class is off by those alone.
    assert int(hardened.sum()) == n
    assert ((hardened - exact).abs() < k).all()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("k", [2, 3])
def test_eight_batches_of_one_equal_one_batch_of_eight(name, k):
    logits, soft = batch(8, k)
    loss, together = LOSSES[name](), WeakBatch(soft, torch.stack([soft, soft.flip(0)]), torch.arange(8) % 2)
    stats = loss.stats(logits, together)
    whole = loss(logits, together, stats, train_frac=0.5)
    each = [WeakBatch(soft[i : i + 1], together.member[:, i : i + 1], together.group[i : i + 1]) for i in range(8)]
    parts = [loss(logits[i : i + 1], each[i], stats, train_frac=0.5) for i in range(8)]
    assert torch.allclose(whole, torch.cat(parts), atol=1e-7)


def test_logconf_without_statistics_is_refused():
    logits, soft = batch()
    with pytest.raises(ValueError, match="global_stats"):
        LogConf()(logits, WeakBatch(soft=soft), GlobalStats(), train_frac=0.5)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_weak_labels_of_one_class_harden_everything_to_it(share):
    logits, _ = batch(6)
    soft = torch.tensor([[1 - share, share]] * 6)
    assert ((logits + global_stats(logits, soft).class_bias).argmax(-1) == int(share)).all()
