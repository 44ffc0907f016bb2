"""One random stream for each purpose, so that adding a method or a stage changes no other draw."""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def stream_seed(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed that depends on `seed` and every part of `purpose`, and on nothing else.

    >>> stream_seed(0, "expert", "boosting", 3) == stream_seed(0, "expert", "boosting", 3)
    True
    >>> stream_seed(0, "expert", "boosting", 3) == stream_seed(0, "expert", "bagging", 3)
    False
    """
    # The separator cannot occur in a decimal or in a purpose's name, so ("a", "bc") and ("ab", "c") differ.
    text = "\x1f".join([str(int(seed)), *(str(part) for part in purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *purpose: str | int) -> "torch.Generator":
    """A CPU generator seeded by `stream_seed`; the only source of randomness the mathematics accepts."""
    import torch  # here, because tasks draw by `stream_seed` alone and their settings must load without it

    return torch.Generator().manual_seed(stream_seed(seed, *purpose))
