"""Token ids, with prompts refused that no model would read whole."""

from collections.abc import Sequence

import pytest

from ensemw2s.data.encode import encode
from ensemw2s.errors import DataError


def words(prompts: Sequence[str]) -> dict[str, list[list[int]]]:
    """A tokenizer of one token per word."""
    return {"input_ids": [[len(word) for word in prompt.split()] for prompt in prompts]}


def test_prompts_are_encoded_in_order_in_one_call_up_to_the_limit_itself():
    calls = []

    def counted(prompts: Sequence[str]) -> dict[str, list[list[int]]]:
        calls.append(len(prompts))
        return words(prompts)

    assert encode(counted, ["a bb ccc", "dddd"], max_length=3, names=["x", "y"]) == [[1, 2, 3], [4]]
    assert calls == [2]


def test_a_prompt_that_is_too_long_is_refused_with_its_id_its_length_and_the_setting():
    with pytest.raises(
        DataError, match=r"example 'y': its prompt has 4 tokens, more than max_length \(3\).*raise weak"
    ):
        encode(words, ["a", "a a a a"], max_length=3, names=["x", "y"])


def test_a_prompt_without_tokens_is_refused_with_its_id():
    with pytest.raises(DataError, match=r"example 'y': its prompt has no token .*; give it a text or drop the row"):
        encode(words, ["a", " "], max_length=3, names=["x", "y"])
