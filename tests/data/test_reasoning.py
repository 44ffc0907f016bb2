"""Puzzles: every answer is checked by other means than those of the generator."""

import re
import sys
from collections import Counter

import pytest

from ensemw2s.config import SplitConfig, parse_config
from ensemw2s.data.load import load_task
from ensemw2s.data.splits import make_split
from ensemw2s.data.tasks import reasoning
from ensemw2s.data.tasks.reasoning import PUZZLES, Reasoning
from ensemw2s.errors import ConfigError, DataError
from ensemw2s.examples import Example

pytest.importorskip("reasoning_gym", reason="the extra `reasoning` is not installed")


def question(example: Example) -> str:
    return example.prompt.removeprefix("Question: ").removesuffix("\nAnswer:")


def chain_sum(example: Example) -> tuple[str, int]:
    found = re.fullmatch(r"What is (\d+) ([+-]) (\d+)\?", question(example))
    assert found
    a, sign, b = found.groups()
    return str(int(a) + int(b) if sign == "+" else int(a) - int(b)), max(len(a), len(b))


def leg_counting(example: Example) -> tuple[str, int]:
    from reasoning_gym.arithmetic.leg_counting import ANIMALS

    herds = [herd.split(" x ") for herd in question(example).removeprefix("How many legs in total: ")[:-1].split(", ")]
    return str(sum(int(n) * ANIMALS[name] for n, name in herds)), len(herds)


def number_sorting(example: Example) -> tuple[str, int]:
    found = re.fullmatch(r"Sort these numbers in (\w+) order: ([\d, ]+)", question(example))
    assert found
    numbers = sorted(map(int, found[2].split(", ")), reverse=found[1] == "descending")
    return ", ".join(map(str, numbers)), len(numbers)


def spell_backward(example: Example) -> tuple[str, int]:
    word = question(example).removeprefix("How is the word ").removesuffix(" spelt backward?")
    return "".join(reversed(word)), len(word)


@pytest.mark.parametrize("solve", [chain_sum, leg_counting, number_sorting, spell_backward])
def test_every_answer_and_difficulty_is_right(solve):
    name = solve.__name__
    task = load_task(Reasoning(reasoning_task=name, n_examples=1000))
    assert len(task.examples) == 1000
    for e in task.examples:
        assert (e.answer, e.difficulty) == solve(e)
    assert (task.answer_form, task.verifier) == ("free", PUZZLES[name].verifier)
    assert {e.difficulty for e in task.examples} == set(map(float, PUZZLES[name].levels))
    assert Counter(e.answer for e in task.examples).most_common(1)[0][1] < 50


def test_a_worked_solution_is_right_line_by_line_and_ends_in_the_answer():
    plain, worked = (
        load_task(Reasoning(reasoning_task="leg_counting", n_examples=200, worked=w)) for w in (False, True)
    )
    for bare, e in zip(plain.examples, worked.examples, strict=True):
        *lines, last = (e.answer or "").splitlines()
        assert (last, e.prompt, len(lines)) == (f"#### {bare.answer}", bare.prompt, e.difficulty)
        for left, right in re.findall(r"(\d+ [*+] \d+) = (\d+)", "\n".join(lines)):
            a, sign, b = left.split()
            assert int(right) == (int(a) * int(b) if sign == "*" else int(a) + int(b))
        assert lines[-1].endswith(f"= {bare.answer}")
    assert Reasoning(worked=False, reasoning_task="leg_counting").needs_decoding is False
    with pytest.raises(ConfigError, match=r"worked: chain_sum has no steps .*leg_counting"):
        parse_config({"task": {"name": "reasoning", "worked": True}})


def test_the_puzzles_of_the_configuration_are_those_that_there_are():
    for name in PUZZLES:
        assert Reasoning(reasoning_task=name).reasoning_task == name  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"task\.reasoning_task: .*'chain_sum'.*got 'sudoku'"):
        parse_config({"task": {"name": "reasoning", "reasoning_task": "sudoku"}})


@pytest.mark.parametrize("name", PUZZLES)
def test_the_default_size_has_distinct_questions_and_splits(name: str):
    task = load_task(Reasoning(reasoning_task=name))  # type: ignore[arg-type]
    assert len(task.examples) == len({e.prompt.casefold() for e in task.examples}) == 6000
    split = make_split(task, SplitConfig())
    hard = split.difficulty[list(split.pools["hard_pool"])]
    assert split.difficulty[list(split.pools["easy_pool"])].max() < hard.min()


def test_the_default_has_one_and_two_digits_on_the_easy_side():
    counts = Counter(e.difficulty for e in load_task(Reasoning()).examples)
    assert counts == {1.0: 200, 2.0: 2800, 3.0: 1500, 4.0: 1500}  # there are 200 sums of one digit each


@pytest.mark.parametrize("name", PUZZLES)
def test_the_seed_alone_decides_the_task(name: str):
    task = Reasoning(seed=0, reasoning_task=name, n_examples=200).load()
    assert Reasoning(seed=0, reasoning_task=name, n_examples=200).load() == task
    other = Reasoning(seed=1, reasoning_task=name, n_examples=200).load()
    assert {e.prompt for e in other.examples} != {e.prompt for e in task.examples}


def test_more_questions_than_there_are_is_refused(monkeypatch: pytest.MonkeyPatch):
    few = {"chain_sum": reasoning.Puzzle((1,), "digits", "digits", "number", chain_sum_of_entry, (("max_terms", 2),))}
    monkeypatch.setattr(reasoning, "PUZZLES", few)
    with pytest.raises(DataError, match=r"task\.n_examples: chain_sum has no 201 .* only 200 were found; ask for at"):
        Reasoning(seed=0, reasoning_task="chain_sum", n_examples=201).load()


def chain_sum_of_entry(entry: dict) -> tuple[str, str]:
    return entry["metadata"]["expression"], entry["answer"]


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(DataError, match=r"task\.name: reasoning .*pip install 'ensemw2s\[reasoning\]'"):
        Reasoning(seed=0, reasoning_task="chain_sum", n_examples=10).load()


def test_the_dial_can_be_stopped_early_but_not_at_its_first_level():
    task = Reasoning(seed=0, reasoning_task="number_sorting", n_examples=60, max_level=4).load()
    assert {e.difficulty for e in task.examples} == {2.0, 3.0, 4.0}
    with pytest.raises(DataError, match=r"task\.max_level \(2\) leaves 1 of the levels of number_sorting.*at least 3"):
        Reasoning(seed=0, reasoning_task="number_sorting", n_examples=60, max_level=2).load()
