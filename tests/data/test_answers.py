"""When two free answers are the same, and what a free task must satisfy."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemw2s.data.answers import ask, final_number, free_task, is_right, normalise
from ensemw2s.data.load import validate_task
from ensemw2s.errors import DataError
from ensemw2s.examples import Example, Task


def test_a_prompt_ends_where_the_answer_begins():
    assert ask("Why?") == "Question: Why?\nAnswer:"
    assert ask("Why?", ("a", "b c")) == "Question: Why?\nOptions:\n- a\n- b c\nAnswer:"


@pytest.mark.parametrize(
    ("text", "same"), [(" The  MOON. ", "the moon"), ("a\n\tb", "a b"), ("Straße", "STRASSE"), ("", ""), ("...", "")]
)
def test_normalise_drops_what_does_not_matter(text: str, same: str):
    assert normalise(text) == normalise(same)


@given(st.text())
def test_normalise_twice_is_normalise_once(text: str):
    assert normalise(normalise(text)) == normalise(text)
    assert normalise(f"  {text}. ") == normalise(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("#### 7", "7"),
        ("7.0", "7"),
        ("007.", "7"),
        ("so it is $1,234.50.", "1234.5"),
        ("-$3", "-3"),
        ("$-3", "-3"),
        ("= -3", "-3"),
        ("− 4 degrees", "-4"),
        ("5-3", "3"),
        ("x - 3, or (2)-1", "1"),
        ("3 - 5 = -2", "-2"),
        (".5", "0.5"),
        ("-0.0", "0"),
        ("1,2", "2"),
        ("1,2345", "2345"),
        ("12 of 40 apples", "40"),
        ("none", None),
        ("", None),
        ("$ - .", None),
    ],
)
def test_the_final_number_in_its_shortest_form(text: str, number: str | None):
    assert final_number(text) == number


@given(st.integers(), st.integers(), st.sampled_from(["", ".", " apples", ".0", "\n"]))
def test_an_integer_is_found_whatever_stands_around_it(other: int, n: int, after: str):
    for written in (str(n), f"{n:,}"):
        assert final_number(f"From {other} we get {written}{after}") == str(n)
        assert is_right(f"{other} so #### {written}{after}", str(n), verifier="number")


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**30), max_value=10**30))
def test_a_decimal_keeps_its_value_and_its_form_is_final(value):
    number = final_number(f"it is {value:f}")
    assert number is not None
    assert type(value)(number) == value
    assert final_number(number) == number


@given(st.text())
def test_any_text_has_a_final_number_or_none(text: str):
    number = final_number(text)
    assert number is None or final_number(number) == number


def test_right_is_exact():
    assert is_right(" the Moon.", "The moon", verifier="text")
    assert not is_right("the moon and more", "the moon", verifier="text")
    assert not is_right("7", "7.0", verifier="text")
    assert is_right("so 7.", "3 + 4 = 7\n#### 7", verifier="number")
    assert not is_right("7.01", "7", verifier="number")
    assert not is_right("no idea", "7", verifier="number")
    assert not is_right("no idea", "none either", verifier="number")


EXAMPLES = tuple(Example(str(i), str(i), ask(f"{i}?"), None, answer, float(i)) for i, answer in enumerate("cab"))


def test_a_free_task_is_valid_and_its_classes_are_its_sorted_answers():
    task = free_task("t", EXAMPLES, "nowhere", "nothing")
    validate_task(task)
    assert (task.answer_form, task.verifier, task.choices) == ("free", "text", ("a", "b", "c"))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"answer": "z"}, r"'0': its answer 'z' is not in the table of the 3 answers"),
        ({"answer": None}, r"'0': its answer None is empty"),
        ({"answer": " "}, r"'0': its answer ' ' is empty"),
        ({"choices": ("a", "b")}, r"'0': its answer 'c' is none of its options \['a', 'b'\]"),
    ],
)
def test_a_free_example_without_a_usable_answer_is_refused(changes: dict, complaint: str):
    good = free_task("t", EXAMPLES, "nowhere", "nothing")
    with pytest.raises(DataError, match=complaint):
        validate_task(replace(good, examples=(replace(EXAMPLES[0], **changes), *EXAMPLES[1:])))


def test_a_free_task_with_one_answer_is_refused():
    same = [replace(e, answer="a") for e in EXAMPLES]
    with pytest.raises(DataError, match="all 3 answers are 'a'; a task needs two different answers"):
        validate_task(free_task("t", same, "nowhere", "nothing"))


def test_a_choice_task_is_what_it_was():
    task = Task("t", (), ("a", "b"), "nowhere", "nothing")
    assert (task.answer_form, task.verifier) == ("choice", "text")
