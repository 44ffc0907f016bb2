"""Batches of rows of similar length: the one rule by which rows of ragged length are padded together."""

from collections.abc import Iterator, Sequence


def length_batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Row numbers, shortest rows first, in batches of at most `batch_tokens` tokens with the padding counted.

    A row that is longer than `batch_tokens` is a batch by itself.

    >>> list(length_batches([3, 1, 2, 9], batch_tokens=6))
    [[1, 2], [0], [3]]
    """
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        # The newest row is the longest so far, to which all rows of the batch are padded.
        if batch and (len(batch) + 1) * lengths[row] > batch_tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
