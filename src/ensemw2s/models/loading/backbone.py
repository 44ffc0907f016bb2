"""A frozen pretrained model that reads text, and what is asked of it."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ensemw2s.config.model import Pooling
from ensemw2s.models.loading.anatomy import cut_model
from ensemw2s.models.loading.positions import positions_of
from ensemw2s.models.vocabulary import VocabularyHead


@dataclass(frozen=True)
class Backbone:
    """A frozen pretrained model without its vocabulary head, shared by all adapters on it."""

    model: PreTrainedModel
    """In evaluation mode, no parameter requires a gradient."""
    tokenizer: PreTrainedTokenizerBase
    n_layers: int
    hidden_size: int
    """Size of a layer's output."""
    output_size: int
    """Size of the model's output, which differs where a family projects its last states."""
    is_causal: bool
    """Whether a token's state is independent of later tokens (measured, not declared)."""
    pooling: tuple[Pooling, ...]
    """What a feature is made of, side by side."""
    dtype: torch.dtype
    name: str
    fingerprint: str
    """Hash of the checkpoint's content and revision, whatever `n_layers` and `dtype` it was loaded with."""
    unembedding: VocabularyHead | None
    """Vocabulary head, on the CPU where it is not tied to the embeddings; None for an encoder, and where the checkpoint
    has none."""
    proven: dict[Hashable, str] = field(default_factory=dict, compare=False)
    """Results of the probes so far, by probe; empty texts for passed ones. Shared with every cut."""

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def feature_size(self) -> int:
        """Size of a text's pooled feature."""
        return self.n_blocks * self.output_size

    @property
    def n_blocks(self) -> int:
        """How many poolings lie side by side in a feature."""
        return len(self.pooling)

    @property
    def depth_text(self) -> str:
        """Its depth in a phrase."""
        return f"first {self.n_layers} layers"

    @property
    def feature_text(self) -> str:
        """What a feature is made of, to follow "a trained head"; empty for the last token."""
        names = {"last": "last token", "mean": "mean over tokens", "cls": "first token"}
        read = " or ".join(f"the {names[name]}" for name in self.pooling)
        return "" if self.pooling == ("last",) else f" on {read}"

    def weights(self) -> Iterable[Tensor]:
        """Its weights in memory."""
        return self.model.parameters()

    @property
    def pad_id(self) -> int:
        """Token that pads a batch. Its positions are masked, so any token with an embedding serves."""
        pad_id = self.tokenizer.pad_token_id
        return pad_id if isinstance(pad_id, int) and 0 <= pad_id < self.n_tokens else 0

    @property
    def n_tokens(self) -> int:
        """Number of token embeddings; the tokenizer may have fewer or more tokens."""
        return self.model.get_input_embeddings().weight.shape[0]  # pyright: ignore

    @property
    def positions(self) -> int | None:
        """Largest number of tokens that it reads; None where nothing bounds it."""
        return positions_of(self.model.config)

    def cut(self, n_layers: int) -> "Backbone":
        """The first `n_layers` layers and the final norm, sharing the weights."""
        if n_layers == self.n_layers:
            return self
        return replace(self, model=cut_model(self.model, 0, n_layers), n_layers=n_layers)
