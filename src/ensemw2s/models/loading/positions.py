"""How many tokens a model has positions for."""

from typing import Any

NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "n_ctx")
"""What the library's families call it; the first that is set counts."""
AFTER_PADDING = (
    *("camembert", "data2vec-text", "esm", "ibert", "longformer", "luke", "markuplm", "mpnet", "roberta"),
    *("roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod"),
)
"""Families that count positions from the one after their padding token's, so that the first ones are never used."""


def positions_of(config: Any) -> int | None:
    """How many tokens a model of this (library) configuration reads; None where nothing bounds them.

    Positions that are computed (rotary ones) can be counted further, but no training saw what is beyond.
    """
    if getattr(config, "relative_attention", False) and not getattr(config, "position_biased_input", True):
        return None  # DeBERTa: distances are told, far ones alike, and no position is
    found = next((n for name in NAMES if isinstance(n := getattr(config, name, None), int) and n > 0), None)
    if found is None:
        return None
    pad = getattr(config, "pad_token_id", None)
    return found - pad - 1 if config.model_type in AFTER_PADDING and isinstance(pad, int) else found
