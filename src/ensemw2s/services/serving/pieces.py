"""The text of an answer piece by piece, each as soon as no later token can change it, with the tokens that it is of."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from ensemw2s.services.serving.worker import Written

UNFINISHED = "�"
"""Shown by a tokenizer for a character of which a part is still to come."""


@dataclass(frozen=True)
class Token:
    """One token of an answer with its part of the text, which is empty within a character of several tokens."""

    text: str
    offset: int
    """Place of its text in the answer."""
    log_prob: float
    likeliest: tuple[tuple[str, float], ...]
    """The likeliest tokens in its place with their log-probabilities, as many as were asked for."""


@dataclass(frozen=True)
class Piece:
    """What is new of an answer."""

    text: str
    tokens: tuple[Token, ...]
    """Tokens whose text is in this piece. The end token and those of a stop string have none."""


class Pieces:
    """Cuts one answer into pieces.

    Args:
        stop: texts that end the answer; what may be the beginning of one is held back.
        skips_space: whether the space between a prompt and its answer is left out.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: Sequence[str], *, skips_space: bool = False):
        self._tokenizer, self._stop, self._skips_space = tokenizer, stop, skips_space
        self._ends: list[int] = []
        self._n_tokens = self._n_characters = 0

    def next(self, written: Written) -> Piece:
        """What is new since the last call."""
        for n in range(len(self._ends) + 1, len(written.tokens) + 1):
            self._ends.append(len(self._settled(written.tokens[:n])))
        if written.ending is not None:
            text = written.ending[0]
            n_tokens = sum(start < len(text) for start in [0, *self._ends][: len(written.tokens)])
        else:
            text = self._settled(written.tokens)
            text = text[: len(text) - self._n_held(text)]
            n_tokens = sum(end <= len(text) for end in self._ends)
        new = range(self._n_tokens, max(n_tokens, self._n_tokens))
        told = text[self._n_characters :]
        if self._skips_space:
            told = told.lstrip()
            self._skips_space = not told
        piece = Piece(told, tuple(self._token(written, text, place) for place in new))
        self._n_tokens, self._n_characters = new.stop, max(len(text), self._n_characters)
        return piece

    def _token(self, written: Written, text: str, place: int) -> Token:
        start = self._ends[place - 1] if place else 0
        likeliest = written.likeliest[place] if place < len(written.likeliest) else []
        shown = tuple((str(self._tokenizer.decode([token])), log_prob) for token, log_prob in likeliest)
        return Token(text[start : self._ends[place]], start, written.log_probs[place], shown)

    def _settled(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True)).rstrip(UNFINISHED)

    def _n_held(self, text: str) -> int:
        """Number of characters at the end that a stop string may begin with."""
        return max((n for stop in self._stop for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0)
