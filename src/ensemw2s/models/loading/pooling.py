"""What a classifier reads of a text, by the model's kind and the settings."""

from ensemw2s.config import ModelConfig
from ensemw2s.config.model import Pooling
from ensemw2s.errors import ModelError


def standard_pooling(*, is_causal: bool) -> tuple[Pooling, ...]:
    """The last token of a causal model, which has read all others; the mean over the tokens of an encoder."""
    return ("last",) if is_causal else ("mean",)


def is_librarys(pooling: tuple[Pooling, ...], *, is_causal: bool) -> bool:
    """Whether the library's own classifier of a causal model pools so; that of an encoder never does."""
    return is_causal and pooling == standard_pooling(is_causal=True)


def pooling_of(config: ModelConfig, *, is_causal: bool) -> tuple[Pooling, ...]:
    """What a feature is made of, side by side. Raises ModelError for the first token of a causal model."""
    if config.pooling is None:
        return standard_pooling(is_causal=is_causal)
    if config.pooling == "auto":
        return ("last", "mean") if is_causal else ("mean", "cls")
    if config.pooling == "cls" and is_causal:
        raise ModelError(
            f"{config.model}: pooling: cls reads the first token, which in a causal model has read no other; set "
            "pooling to last or mean"
        )
    return (config.pooling,)
