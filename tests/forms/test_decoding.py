"""Settings of decoding held against the training answers."""

import pytest

from ensemw2s.config import DecodingSettings, parse_config
from ensemw2s.errors import ConfigError, DataError
from ensemw2s.forms.generation.decoding import check_stop, fit_decoding
from ensemw2s.models.loading.tiny import byte_tokenizer
from tiny_run import merged, tiny_words_tree

READERS = [(byte_tokenizer(), False)]


def fitted(answers: list[str], **settings) -> tuple:
    return fit_decoding(DecodingSettings(**settings), answers, READERS)


def test_the_end_of_a_line_ends_an_answer_only_where_no_training_answer_has_several():
    assert fitted(["one", "two"])[0].stop == ("\n",)
    assert fitted(["one", "two\nlines"])[0].stop == ()
    assert fitted(["one", "two"], stop=[])[0].stop == ()


def test_a_text_that_ends_answers_and_is_in_training_answers_is_refused_with_counts():
    with pytest.raises(DataError, match=r"stop: '\\n' is in 1 of the 2 training answers \(such as 'two\\nlines'\)"):
        fitted(["one", "two\nlines"], stop=["\n"])
    with pytest.raises(DataError, match="' ' is in 2 of the 2"):  # every answer follows a space
        check_stop(DecodingSettings(stop=(" ",)), ["one", "two"])
    check_stop(DecodingSettings(stop=("###",)), ["one", "two"])


def test_there_is_room_for_every_training_answer_and_its_end():
    assert fitted(["no"])[0].max_new_tokens == 24
    assert fitted(["x" * 22])[0].max_new_tokens == 24  # a space before, the end token after
    assert fitted(["x" * 23])[0].max_new_tokens == 32
    assert fitted(["x" * 1000])[0].max_new_tokens == 1008


def test_a_limit_that_cuts_training_answers_is_said():
    decoding, [note] = fitted(["x" * 5, "x" * 30], max_new_tokens=10)
    assert decoding.max_new_tokens == 10
    assert "max_new_tokens (10) is less than 1 of the 2 training answers have (up to 32 tokens)" in note
    assert fitted(["x" * 5], max_new_tokens=10)[1] == []


def test_an_empty_text_cannot_end_answers(tmp_path):
    changes = {"generation": {"decoding": {"stop": [""]}}}
    with pytest.raises(ConfigError, match="stop"):
        parse_config(merged(tiny_words_tree(tmp_path / "q.jsonl"), changes))
