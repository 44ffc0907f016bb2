"""Which of the first n drawn answers to a question is taken: the one that judges find best, or the commonest."""

from jaxtyping import Float, Int
from torch import Tensor


def sizes(n_all: int) -> list[int]:
    """1, 2, 4 and so on, and all of them."""
    return [*(2**k for k in range(n_all.bit_length()) if 2**k < n_all), n_all]


def best(worth: Float[Tensor, "items samples"], n: int) -> Int[Tensor, " items"]:
    """The place of the best; of equals the first. A sample of worth -inf is taken where there is no other."""
    return worth[:, :n].argmax(-1)


def commonest(
    answer: Int[Tensor, "items samples"], probability: Float[Tensor, "items samples"], n: int
) -> Int[Tensor, " items"]:
    """The first place of the commonest answer; of equally common ones the one of the larger summed probability.

    Args:
        answer: a number for each distinct answer to a question; -1 says nothing, and wins only where all are -1.
        probability: of each sample.
    """
    first = answer[:, :n]
    is_same = (first[:, :, None] == first[:, None, :]).double()
    likely = (is_same * probability[:, None, :n].double()).sum(-1)
    # Probabilities sum to n at most, so that they decide between equal counts alone.
    score = is_same.sum(-1) + likely / (n + 1)
    return score.masked_fill(first < 0, -1.0).argmax(-1)
