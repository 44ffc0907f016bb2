"""Prompts to token ids, refused before any work where one cannot be read whole."""

from collections.abc import Sequence
from typing import Any

from ensemw2s.errors import DataError, ModelError
from ensemw2s.prompting import answer_text, prompt_ids
from ensemw2s.types import AnswerTokens


def encode(
    tokenizer: Any, prompts: Sequence[str], *, max_length: int, names: Sequence[str], chat: bool = False
) -> list[list[int]]:
    """Token ids of each prompt (`prompting.prompt_ids`); `names` are the ids that an error shows.

    Raises:
        DataError: a prompt is longer than `max_length` tokens, or has none.
        ModelError: `chat`, and the tokenizer has no chat template.
    """
    ids = prompt_ids(tokenizer, prompts, chat=chat)
    for name, one in zip(names, ids, strict=True):
        if not one:
            raise DataError(
                f"example {name!r}: its prompt has no token for this tokenizer; give it a text or drop the row"
            )
        if len(one) > max_length:
            raise DataError(
                f"example {name!r}: its prompt has {len(one)} tokens, more than max_length ({max_length}); "
                "shorten it, drop the row, or raise weak.max_length and strong.max_length"
            )
    return ids


def encode_answers(
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[str],
    *,
    max_length: int,
    names: Sequence[str],
    chat: bool = False,
) -> AnswerTokens:
    """Encoded prompts with their answers (as `prompting.answer_text` has them, with the end token after).

    The answer is encoded by itself: decoding starts from the same prompt, so training must read the same prefix.

    Raises:
        DataError: prompt and answer are longer than `max_length` tokens, or the answer has none.
        ModelError: the tokenizer has no end token.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise ModelError("the tokenizer has no end token (eos_token), so no answer ends; set it and save it again")
    after: list[list[int]] = tokenizer([answer_text(a, chat=chat) for a in answers], add_special_tokens=False)[
        "input_ids"
    ]
    ids = tuple((*p, *a, end) for p, a in zip(prompts, after, strict=True))
    for name, one, answer in zip(names, ids, after, strict=True):
        if not answer:
            raise DataError(f"example {name!r}: its answer has no token for this tokenizer; give it a text or drop it")
        if len(one) > max_length:
            raise DataError(
                f"example {name!r}: prompt and answer have {len(one)} tokens, more than max_length ({max_length}); "
                "shorten them, drop the row, or raise weak.max_length and strong.max_length"
            )
    return AnswerTokens(ids, tuple(len(p) for p in prompts))
