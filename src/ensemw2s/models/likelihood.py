"""The untrained model's likelihood of each choice, by the token in which the choices differ."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.errors import ModelError
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.vocabulary import VocabularyHead
from ensemw2s.prompting import answer_text


@dataclass(frozen=True)
class Likelihood:
    """Scores the choices at the end of a prompt."""

    head: VocabularyHead
    shared: tuple[int, ...]
    """Tokens that all choices begin with, to be read after the prompt."""
    first: Int[Tensor, " choices"]
    """Of each choice the next token."""

    def __call__(self, states: Float[Tensor, "prompts dim"]) -> Float[Tensor, "prompts choices"]:
        """Log-probabilities of the choices, which sum to 1, from the last states before their tokens."""
        with torch.no_grad():
            return self.head.of_tokens(states, self.first).log_softmax(-1)


def choice_likelihood(
    backbone: Backbone, name: str, choices: Sequence[str], *, chat: bool = False, reads_shared: bool = False
) -> Likelihood:
    """How the choices are scored.

    Args:
        name: of the model, for errors.
        reads_shared: whether tokens that all choices begin with are read with the prompt; else they begin differently.

    Raises:
        ModelError: choices begin with the same token, one is outside the vocabulary, or the model has none.
    """
    texts = [answer_text(choice, chat=chat) for choice in choices]
    ids: list[list[int]] = [backbone.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    n_shared = _n_shared(ids) if reads_shared else 0
    tokens = [one[n_shared] if one else -1 for one in ids]
    if len(set(tokens)) < len(tokens):
        raise ModelError(
            f"{name}: zero-shot scoring needs choices that begin with different tokens, got {list(choices)}"
        )
    head = backbone.unembedding
    if head is None:
        raise ModelError(
            f"{name}: no output embedding in its checkpoint, so it cannot be scored zero-shot; use a causal language "
            "model"
        )
    if outside := [token for token in tokens if not 0 <= token < len(head.weight)]:
        raise ModelError(
            f"{name}: token {outside[0]} is outside its vocabulary of {len(head.weight)}; encode with its own tokenizer"
        )
    return Likelihood(head, tuple(ids[0][:n_shared]), torch.tensor(tokens))


def _n_shared(ids: Sequence[Sequence[int]]) -> int:
    """Number of tokens that all begin with, short of the end of any."""
    most = max(0, min(map(len, ids)) - 1)
    return next((place for place in range(most) if len({one[place] for one in ids}) > 1), most)
