"""Answers in the forms of OpenAI's interface."""

import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from ensemw2s.services.serving.pieces import Piece, Token


def finish_reason(ending: tuple[str, bool] | None) -> str | None:
    """Why an answer ended: by itself or by the limit of length; None where it has not."""
    return None if ending is None else "stop" if ending[1] else "length"


def usage(n_prompt: int, n_completion: int) -> dict[str, int]:
    """Numbers of tokens, those that end answers included."""
    return {"prompt_tokens": n_prompt, "completion_tokens": n_completion, "total_tokens": n_prompt + n_completion}


def error_body(status: int, message: str) -> dict[str, Any]:
    """What an answer says that is none."""
    kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


class Form(ABC):
    """Bodies of the answers to one request."""

    PREFIX: str
    KIND: str
    CHUNK: str

    def __init__(self, model: str, *, has_log_probs: bool):
        self._model, self._has_log_probs = model, has_log_probs
        self._id, self._created = f"{self.PREFIX}-{uuid.uuid4().hex}", int(time.time())

    def body(
        self, choices: Sequence[dict[str, Any]], used: dict[str, int] | None = None, *, is_chunk: bool = False
    ) -> dict[str, Any]:
        """The whole answer, or one event of a stream."""
        kind = self.CHUNK if is_chunk else self.KIND
        about = {"id": self._id, "object": kind, "created": self._created, "model": self._model}
        return about | {"choices": list(choices)} | ({} if used is None else {"usage": used})

    def choice(
        self, number: int, piece: Piece, reason: str | None, *, is_chunk: bool = False, is_first: bool = False
    ) -> dict[str, Any]:
        """One answer: all of it, or what is new."""
        log_probs = self._log_probs(piece.tokens) if self._has_log_probs else None
        content = self._content(piece.text, is_chunk=is_chunk, is_first=is_first)
        return {"index": number, **content, "logprobs": log_probs, "finish_reason": reason}

    @abstractmethod
    def _content(self, text: str, *, is_chunk: bool, is_first: bool) -> dict[str, Any]: ...

    @abstractmethod
    def _log_probs(self, tokens: Sequence[Token]) -> dict[str, Any]: ...


class TextForm(Form):
    """Of `/v1/completions`."""

    PREFIX, KIND, CHUNK = "cmpl", "text_completion", "text_completion"

    def _content(self, text: str, *, is_chunk: bool, is_first: bool) -> dict[str, Any]:
        return {"text": text}

    def _log_probs(self, tokens: Sequence[Token]) -> dict[str, Any]:
        return {
            "tokens": [token.text for token in tokens],
            "token_logprobs": [token.log_prob for token in tokens],
            "top_logprobs": [dict(token.likeliest) for token in tokens],
            "text_offset": [token.offset for token in tokens],
        }


class ChatForm(Form):
    """Of `/v1/chat/completions`."""

    PREFIX, KIND, CHUNK = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def _content(self, text: str, *, is_chunk: bool, is_first: bool) -> dict[str, Any]:
        if is_chunk:
            return {"delta": ({"role": "assistant"} if is_first else {}) | {"content": text}}
        return {"message": {"role": "assistant", "content": text, "refusal": None}}

    def _log_probs(self, tokens: Sequence[Token]) -> dict[str, Any]:
        shown = [
            _token(token.text, token.log_prob) | {"top_logprobs": [_token(*one) for one in token.likeliest]}
            for token in tokens
        ]
        return {"content": shown, "refusal": None}


def _token(text: str, log_prob: float) -> dict[str, Any]:
    return {"token": text, "logprob": log_prob, "bytes": list(text.encode())}
