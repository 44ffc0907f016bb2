import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ensemw2s.core import difficulty, sampling
from ensemw2s.core.seeds import stream, stream_seed


def test_resampling_follows_the_weights():
    weights = torch.tensor([0.5, 0.3, 0.2, 0.0], dtype=torch.float64).repeat(5000)
    weights /= weights.sum()
    counts = torch.bincount(sampling.resample(weights, stream(0, "test")) % 4, minlength=4) / 20_000
    assert counts.tolist() == pytest.approx([0.5, 0.3, 0.2, 0.0], abs=0.015)


def test_a_bootstrap_leaves_out_a_little_over_a_third():
    drawn = sampling.bootstrap(10_000, stream(0, "test"))
    assert len(drawn) == 10_000
    assert len(drawn.unique()) / 10_000 == pytest.approx(1 - 1 / 2.71828, abs=0.01)


@given(st.lists(st.integers(0, 12), min_size=20, max_size=80), st.integers(0, 99))
def test_folds_tear_no_group_and_are_as_even_as_groups_allow(groups, seed):
    names = [str(g) for g in groups]
    if len(set(names)) < 4:
        return
    folds = sampling.group_folds(names, 4, stream(seed, "test"))
    for name in set(names):
        assert len({int(f) for f, n in zip(folds, names, strict=True) if n == name}) == 1
    sizes = torch.bincount(folds, minlength=4)
    assert int(sizes.max() - sizes.min()) <= max(names.count(n) for n in set(names))


def test_fewer_groups_than_folds_are_refused():
    with pytest.raises(ValueError, match="3 folds"):
        sampling.group_folds(["a", "b", "a"], 3, stream(0, "test"))


def test_effective_sample_size_counts_equal_weights():
    assert sampling.effective_sample_size(torch.ones(7)) == pytest.approx(7)
    assert sampling.effective_sample_size(torch.tensor([1.0, 0.0, 0.0])) == pytest.approx(1)


def test_streams_are_pinned_and_differ_by_every_part_of_their_purpose():
    assert stream_seed(0, "expert", "first", 0) == 7027056866087722772
    purposes = [(0, "a", "bc"), (0, "ab", "c"), (1, "a", "bc"), (0, "a", "bc", 0), (0, "a", "bc", 1)]
    assert len({stream_seed(*p) for p in purposes}) == len(purposes)


def test_difficulty_by_hand():
    log_probs = torch.tensor([[0.5, 0.5], [0.9, 0.1]]).log()
    entropy = difficulty.uncertainty(log_probs, "entropy").tolist()
    assert entropy == pytest.approx([0.693147, 0.325083], abs=1e-5)
    assert difficulty.uncertainty(log_probs, "margin").tolist() == pytest.approx([1.0, 0.2], abs=1e-6)
    assert difficulty.p_true_difficulty(log_probs, torch.tensor([0, 1])).tolist() == pytest.approx([0.5, 0.9])
