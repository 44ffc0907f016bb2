"""Number of positions of a model."""

from typing import Any

NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "n_ctx")
"""Names of this setting in the library's families; the first that is set counts."""
AFTER_PADDING = (
    *("camembert", "data2vec-text", "esm", "ibert", "longformer", "luke", "markuplm", "mpnet", "roberta"),
    *("roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod"),
)
"""Families that count positions from the one after their padding token's, so that the first ones are never used."""


def positions_of(config: Any) -> int | None:
    """Largest number of tokens that a model of this configuration reads; None where nothing bounds it.

    Computed positions (rotary) could go further, but beyond this number the model was not trained.
    """
    if getattr(config, "relative_attention", False) and not getattr(config, "position_biased_input", True):
        return None  # DeBERTa: relative distances, bucketed when far, and no absolute positions
    positions = next((n for name in NAMES if isinstance(n := getattr(config, name, None), int) and n > 0), None)
    if positions is None:
        return None
    pad = getattr(config, "pad_token_id", None)
    return positions - pad - 1 if config.model_type in AFTER_PADDING and isinstance(pad, int) else positions
