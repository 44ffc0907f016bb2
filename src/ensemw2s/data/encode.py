"""Prompts to token ids, refused before any work where one cannot be read whole."""

from collections.abc import Sequence
from typing import Any

from ensemw2s.errors import DataError


def encode(tokenizer: Any, prompts: Sequence[str], *, max_length: int, names: Sequence[str]) -> list[list[int]]:
    """Token ids of each prompt; `names` are the ids that an error shows.

    Raises:
        DataError: a prompt is longer than `max_length` tokens, or has none.
    """
    ids: list[list[int]] = tokenizer(list(prompts))["input_ids"]
    for name, one in zip(names, ids, strict=True):
        if not one:
            raise DataError(
                f"example {name!r}: its prompt has no token for this tokenizer; give it a text or drop the row"
            )
        if len(one) > max_length:
            raise DataError(
                f"example {name!r}: its prompt has {len(one)} tokens, more than max_length ({max_length}); "
                "shorten it, drop the row, or raise weak.max_length and strong.max_length"
            )
    return ids
