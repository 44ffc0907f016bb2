"""Rows of similar length go together, each once, within the budget of tokens."""

import random

from ensemw2s.core.batches import length_batches


def test_batches_hold_like_lengths_and_every_row_once():
    rng = random.Random(0)
    lengths = [rng.randint(1, 40) for _ in range(500)] + [300]
    made = list(length_batches(lengths, 100))
    assert sorted(i for batch in made for i in batch) == list(range(501))
    assert all(len(b) == 1 or len(b) * max(lengths[i] for i in b) <= 100 for b in made)
    padded = sum(len(b) * max(lengths[i] for i in b) for b in made)
    assert padded < 1.05 * sum(lengths)
