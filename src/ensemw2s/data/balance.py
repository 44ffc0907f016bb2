"""Class imbalance, and when to warn of it."""

from collections.abc import Mapping

from jaxtyping import Int
from torch import Tensor

RARE = 0.05
UNEVEN = 2.0


def rare_classes(counts: Mapping[str, int]) -> list[str]:
    """A warning for each class that fewer than a twentieth of the labelled easy examples have.

    >>> rare_classes({"no": 96, "yes": 4})
    ["class 'yes' has 4 of the 100 labelled easy examples; what is said of it rests on few"]
    """
    total = sum(counts.values())
    return [
        f"class {name!r} has {n or 'none'} of the {total} labelled easy examples; "
        + ("what is said of it rests on few" if n else "no model can learn it from them")
        for name, n in counts.items()
        if n < RARE * total
    ]


def is_uneven(labels: Int[Tensor, " examples"]) -> bool:
    """Whether one occurring class is more than twice as frequent as another, so that accuracy alone misleads."""
    counts = labels.bincount()
    counts = counts[counts > 0]
    return bool(counts.max() > UNEVEN * counts.min())
