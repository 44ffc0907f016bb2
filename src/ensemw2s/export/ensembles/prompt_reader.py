"""How a saved ensemble reads prompts, without its models."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ensemw2s.export.ensembles.ensemble_record import EnsembleRecord
from ensemw2s.models.pictures.reading import PictureReader
from ensemw2s.pictures import has_picture
from ensemw2s.prompting import prompt_ids

TEXT_ALONE = "it holds a picture, and one of the ensemble's models reads text alone; delete the row"


@dataclass(frozen=True)
class Tokens:
    """How one model of an ensemble reads prompts."""

    tokenizer: PreTrainedTokenizerBase
    chat: bool
    max_length: int
    """Largest number of tokens of a prompt."""
    n_tokens: int
    """Number of tokens that the model has an embedding of; the tokenizer may know more."""

    def encode(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt."""
        return prompt_ids(self.tokenizer, prompts, chat=self.chat)

    def sizes(self, prompts: Sequence[str]) -> list[tuple[int, str]]:
        """Number of tokens of each prompt, and why it cannot be read; empty where it can."""
        return [(len(ids), unreadable(ids, self.max_length, self.n_tokens)) for ids in self.encode(prompts)]


@dataclass(frozen=True)
class PromptReader:
    """Reads prompts as a saved ensemble does, without its models."""

    fingerprint: str
    readers: tuple[Tokens, ...]
    """Of each language model; a pool of TF-IDF alone has none."""
    expert_weights: Float[Tensor, " experts"]
    record: EnsembleRecord
    pictures: tuple[PictureReader, ...] = field(default=(), kw_only=True)
    """Of each model that reads pictures."""

    @property
    def reads_pictures(self) -> bool:
        """Whether pictures of a prompt are opened; where not, their Markdown is text like any other."""
        return bool(self.pictures)

    def sizes(self, prompts: Sequence[str]) -> list[tuple[int, str]]:
        """Number of tokens of each prompt (of the model that makes most), and why one cannot read it, if so."""
        found = [(1, "") for _ in prompts]
        if self.readers and self.pictures:
            found = [(1, TEXT_ALONE if has_picture(prompt) else "") for prompt in prompts]
        for sizes in (reader.sizes(prompts) for reader in (*self.readers, *self.pictures)):
            found = [
                (max(before, size), before_reason or reason)
                for (before, before_reason), (size, reason) in zip(found, sizes, strict=True)
            ]
        return found


def unreadable(ids: Sequence[int], max_length: int, n_tokens: int) -> str:
    """Why a model cannot read a prompt of these token ids; empty where it can."""
    if not ids:
        return "the tokenizer makes no token of its prompt; give it another text or delete the row"
    if len(ids) > max_length:
        return (
            f"its prompt has {len(ids)} tokens and the models read at most {max_length}; shorten it or delete the row"
        )
    if (largest := max(ids)) >= n_tokens:
        return (
            f"its prompt has the token number {largest} and the models have embeddings of 0 to {n_tokens - 1} alone; "
            "take that text out of the prompt or delete the row"
        )
    return ""


def origin_of(record: EnsembleRecord) -> dict[str, Any]:
    """What a label says of where it comes from."""
    return {
        "expert_ids": list(record.expert_ids),
        "expert_weights": list(record.expert_weights),
        "config_hash": record.config_hash,
    }
