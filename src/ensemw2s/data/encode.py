"""Encoding of prompts to token ids; prompts that are too long are refused before any work."""

from collections.abc import Sequence
from typing import Any

from ensemw2s.errors import DataError, ModelError
from ensemw2s.prompting import answer_text, prompt_ids
from ensemw2s.records import AnswerTokens


def encode(
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    max_length: int,
    names: Sequence[str],
    chat: bool = False,
    positions: int | None = None,
    room: int = 0,
) -> list[list[int]]:
    """Token ids of each prompt (`prompting.prompt_ids`).

    Args:
        max_length: of the model's settings.
        names: the ids that an error shows.
        positions: what the model can read, however it is set; None where it sets no bound.
        room: tokens that the model shall write after the prompt.

    Raises:
        DataError: a prompt is too long, or has no token.
        ModelError: `chat`, and the tokenizer has no chat template.
    """
    ids = prompt_ids(tokenizer, prompts, chat=chat)
    for name, one in zip(names, ids, strict=True):
        if reason := unreadable(len(one), max_length=max_length, positions=positions, room=room):
            raise DataError(f"example {name!r}: its prompt has {reason}")
    return ids


def unreadable(n_tokens: int, *, max_length: int, positions: int | None = None, room: int = 0) -> str:
    """Why a prompt of so many tokens cannot be read, to follow "its prompt has"; empty where it can be read."""
    if not n_tokens:
        return "no token for this tokenizer; give it a text or drop the row"
    limit = max_length if positions is None else min(max_length, positions)
    if n_tokens <= limit - room:
        return ""
    before = f" less the {room} that an answer may have (generation.decoding.max_new_tokens)" if room else ""
    if positions is not None and positions <= max_length:
        return (
            f"{n_tokens:,} tokens, more than the model's {limit:,} positions{before}; shorten it, drop the row, or "
            "choose a model that reads more"
        )
    return (
        f"{n_tokens:,} tokens, more than max_length ({limit}){before}; shorten it, drop the row, or raise "
        "weak.max_length and strong.max_length"
    )


def encode_answers(
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[str],
    *,
    max_length: int,
    names: Sequence[str],
    chat: bool = False,
    positions: int | None = None,
) -> AnswerTokens:
    """Encoded prompts, each followed by its answer (`prompting.answer_text`) and the end token.

    The answer is encoded by itself, because decoding starts from the encoded prompt and training must read the same.

    Raises:
        DataError: prompt and answer are longer than `max_length` tokens or than `positions`, or the answer has none.
        ModelError: the tokenizer has no end token.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise ModelError("the tokenizer has no end token (eos_token), so no answer ends; set it and save it again")
    after: list[list[int]] = tokenizer([answer_text(a, chat=chat) for a in answers], add_special_tokens=False)[
        "input_ids"
    ]
    ids = tuple((*p, *a, end) for p, a in zip(prompts, after, strict=True))
    limit = max_length if positions is None else min(max_length, positions)
    for name, one, answer in zip(names, ids, after, strict=True):
        if not answer:
            raise DataError(f"example {name!r}: its answer has no token for this tokenizer; give it a text or drop it")
        if len(one) > limit:
            what, mend = f"max_length ({limit})", "raise weak.max_length and strong.max_length"
            if positions is not None and positions <= max_length:
                what, mend = f"the model's {limit} positions", "choose a model that reads more"
            raise DataError(
                f"example {name!r}: prompt and answer have {len(one)} tokens, more than {what}; shorten them, drop the "
                f"row, or {mend}"
            )
    return AnswerTokens(ids, tuple(len(p) for p in prompts))
