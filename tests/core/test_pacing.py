"""From easy to hard: the order by hand, and plain training where all samples are in."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from ensemw2s.core.pacing import Pace


def order(pace, epoch=0, n_epochs=4, batch_size=2, seed=0):
    return pace.epoch_order(epoch, n_epochs, batch_size, torch.Generator().manual_seed(seed))


def test_the_share_grows_linearly_to_its_ramp():
    pace = Pace(torch.zeros(4), 0.25, 0.5)
    assert [pace.share(u) for u in (0.0, 0.25, 0.5, 1.0)] == [0.25, 0.625, 1.0, 1.0]


def test_the_order_by_hand():
    # Six samples, two to a batch, two epochs of three steps; in at steps 0 to 5: 2, 3, 4, 5, 6, 6 of the easiest.
    pace = Pace(torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0, 0.0]), 2 / 6, 4 / 6)
    first, second = (order(pace, epoch, n_epochs=2).tolist() for epoch in (0, 1))
    assert set(first[:2]) == {4, 5}
    assert 3 in first[2:4]  # new, and one of the two that were used
    assert 2 in first[4:]
    assert set(first) == {2, 3, 4, 5}
    assert 0 not in second[:2]
    assert sorted(second) == [0, 1, 2, 3, 4, 5]


def test_samples_that_are_all_in_come_in_the_generators_permutation():
    expected = torch.randperm(7, generator=torch.Generator().manual_seed(3))
    assert torch.equal(order(Pace(torch.rand(7), 1.0, 0.5), seed=3), expected)
    assert torch.equal(order(Pace(torch.rand(7), 0.1, 0.5), epoch=2, seed=3), expected)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 3), st.floats(0.01, 1.0), st.floats(0.01, 1.0))
def test_batches_hold_what_is_in_and_nothing_twice(n, batch_size, epoch, start, ramp):
    hardness = torch.randperm(n, generator=torch.Generator().manual_seed(n)).float()
    pace = Pace(hardness, start, ramp)
    found = order(pace, epoch, batch_size=batch_size)
    assert len(found) == n
    n_batches = -(-n // batch_size)
    for position, batch in enumerate(found.split(batch_size)):
        assert len(batch.unique()) == len(batch)
        share = pace.share((epoch * n_batches + position) / (4 * n_batches))
        assert float(hardness[batch].max()) < max(share * n + 1e-6, min(batch_size, n)) + 1
