"""Whole causal language models side by side as members of an ensemble."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from ensemw2s.ensemble.reading import Reading, log_prob_limit, read_anew, read_at_once, read_by_steps, step_texts
from ensemw2s.errors import ModelError
from ensemw2s.models.loading.anatomy import share
from ensemw2s.models.passes import run_model
from ensemw2s.models.probes import difference, texts_for
from ensemw2s.models.vocabulary import VocabularyHead, trunk_of


class SeparateModels:
    """Whole causal language models of one tokenizer, each run by itself.

    Raises:
        ModelError: two tokenizers differ, or a model has no vocabulary head.
    """

    def __init__(self, models: Sequence[PreTrainedModel], tokenizers: Sequence[PreTrainedTokenizerBase]):
        same_tokenizer(tokenizers)
        self._heads, self._trunks = [], []
        for model in models:
            trunk = trunk_of(model)
            if trunk is None or model.get_output_embeddings() is None:
                raise ModelError(f"{model.name_or_path}: it has no vocabulary head; give causal language models")
            self._heads.append(VocabularyHead(share(model.eval())))
            self._trunks.append(trunk)
        pad_id = tokenizers[0].pad_token_id
        self.pad_id = pad_id if isinstance(pad_id, int) else 0
        texts = step_texts(texts_for(tokenizers[0], self._trunks[0], self.pad_id))
        self.keeps_memory = not difference(
            lambda: self.logits(read_by_steps(self, self._with_memory(), texts)).log_softmax(-1),
            lambda: self.logits(read_at_once(self, texts)).log_softmax(-1),
            log_prob_limit(self._trunks[0].dtype),
        )

    @property
    def n_members(self) -> int:
        return len(self._trunks)

    def start(self) -> Reading:
        return self._with_memory() if self.keeps_memory else Reading([], tokens=[])

    def _with_memory(self) -> Reading:
        return Reading([DynamicCache() for _ in self._trunks])

    @torch.no_grad()
    def read(
        self, ids: Int[Tensor, "batch length"], mask: Int[Tensor, "batch length"], reading: Reading | None
    ) -> Float[Tensor, "members batch states dim"]:
        """As `Members.read`."""
        if reading is None:
            return torch.stack([run_model(t, ids.to(t.device), mask.to(t.device)) for t in self._trunks])
        if reading.tokens is not None:
            return read_anew(self, ids, mask, reading)
        whole, positions = reading.extend(mask)
        states = []
        for trunk, cache in zip(self._trunks, reading.caches, strict=True):
            output = trunk(
                input_ids=ids.to(trunk.device),
                attention_mask=whole.to(trunk.device),
                position_ids=positions.to(trunk.device),
                past_key_values=cache,
                use_cache=True,
            )
            states.append(output.last_hidden_state)
        return torch.stack(states)

    @torch.no_grad()
    def logits(self, states: Float[Tensor, "members positions dim"]) -> Float[Tensor, "members positions vocab"]:
        """Next-token logits by each model's own head."""
        return torch.stack([head(s).float() for head, s in zip(self._heads, states, strict=True)])


def same_tokenizer(tokenizers: Sequence[PreTrainedTokenizerBase]) -> None:
    """Refuse to mix distributions over different vocabularies.

    Raises:
        ModelError: naming the first difference.
    """
    first = tokenizers[0]
    for other in tokenizers[1:]:
        if difference := tokenizer_difference(first, other):
            raise ModelError(
                f"{other.name_or_path}: {difference}, so their next-token probabilities cannot be mixed; use models of "
                "one tokenizer"
            )


def tokenizer_difference(first: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> str:
    """The first difference of another tokenizer's tokens, in words; empty where there is none."""
    ours, theirs = first.get_vocab(), other.get_vocab()
    differing = sorted(token for token in ours.keys() | theirs.keys() if ours.get(token) != theirs.get(token))
    if differing:
        token = differing[0]
        return (
            f"its tokenizer differs from that of {first.name_or_path} ({token!r} is {theirs.get(token)} and not "
            f"{ours.get(token)})"
        )
    if first.eos_token_id != other.eos_token_id:
        return f"its end token is {other.eos_token_id}, that of {first.name_or_path} is {first.eos_token_id}"
    return ""
