"""The split: what goes where, that nothing leaks between parts, and that the seal holds."""

import copy
import pickle
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ensemw2s.config import SplitConfig
from ensemw2s.data.own.sides import sides_by_file
from ensemw2s.data.seal import SealedLabels
from ensemw2s.data.splits import TOLERANCE, Split, make_split
from ensemw2s.errors import DataError, SealError
from ensemw2s.examples import Example, Task

CHOICES = ("no", "yes")
SEALED = ("hard_pool", "id_test", "ood_test")


def example(i: int, *, group: str | None = None, prompt: str | None = None, difficulty: float | None = None) -> Example:
    name = f"e{i:04}"
    return Example(name, group or name, prompt or f"prompt {i}", CHOICES, CHOICES[i % 2], difficulty)


def task_of(examples: Sequence[Example]) -> Task:
    return Task("planted", tuple(examples), CHOICES, "nowhere", "position")


def ranked(n: int) -> Task:
    """n examples, each its own group, difficulty 0 to n - 1."""
    return task_of([example(i, difficulty=float(i)) for i in range(n)])


def sizes(**changes: Any) -> SplitConfig:
    small = {
        "n_easy_pool": 20,
        "n_easy_train": 12,
        "n_easy_val": 8,
        "n_hard_pool": 20,
        "n_hard_unlabelled": 15,
        "n_id_test": 10,
        "n_ood_test": 10,
    }
    return SplitConfig(**(small | changes))


def ids(split: Split, pool: str) -> set[str]:
    return {split.examples[i].id for i in split.pools[pool]}


def test_easy_and_hard_come_from_their_sides_of_the_quantiles_in_the_sizes_asked_for():
    split = make_split(ranked(101), sizes())
    assert {name: len(rows) for name, rows in split.pools.items()} == {
        "easy_pool": 20,
        "hard_pool": 20,
        "id_test": 10,
        "ood_test": 10,
    }
    assert [row for rows in split.pools.values() for row in rows] == list(range(len(split.examples)))
    for pool, rows in split.pools.items():
        hardness = split.difficulty[list(rows)]
        assert hardness.max() <= 40 if pool in ("easy_pool", "id_test") else hardness.min() >= 60


@pytest.mark.parametrize("n_easy_values", [45, 70])
def test_a_dial_of_two_values_puts_the_lower_on_the_easy_side_and_the_higher_on_the_hard(n_easy_values: int):
    task = task_of([example(i, difficulty=float(i >= n_easy_values)) for i in range(100)])
    split = make_split(task, sizes(n_hard_pool=15, n_hard_unlabelled=10))
    for pool, rows in split.pools.items():
        assert (split.difficulty[list(rows)] == float(pool in ("hard_pool", "ood_test"))).all()


def test_a_dial_on_which_nothing_is_harder_than_the_easy_cut_is_refused_with_the_setting_to_lower():
    task = task_of([example(i, difficulty=float(i >= 20)) for i in range(100)])
    with pytest.raises(DataError, match=r"the hard side has 0 examples \(its cut is at difficulty 1\).*easy_below"):
        make_split(task, sizes())


def test_all_labels_but_the_easy_pools_are_sealed_and_equal_the_truth():
    task = ranked(101)
    split = make_split(task, sizes())
    truth = {e.id: CHOICES.index(e.answer or "") for e in task.examples}
    for pool, rows in split.pools.items():
        labels = split.easy_labels if pool == "easy_pool" else split.sealed[pool].open("evaluation")
        assert labels.tolist() == [truth[split.examples[i].id] for i in rows]
        assert all((split.examples[i].answer is None) == (pool != "easy_pool") for i in rows)


def test_flipping_every_sealed_label_changes_nothing_that_an_expert_or_a_draw_can_see():
    task = ranked(101)
    split = make_split(task, sizes())
    hidden = set().union(*(ids(split, pool) for pool in SEALED))
    flipped = [
        replace(e, answer=CHOICES[1 - CHOICES.index(e.answer or "")]) if e.id in hidden else e for e in task.examples
    ]
    other = make_split(task_of(flipped), sizes())
    assert other.examples == split.examples
    assert other.inputs_fingerprint == split.inputs_fingerprint
    assert other.easy_fingerprint == split.easy_fingerprint
    assert torch.equal(other.draw(3).hard_unlabelled, split.draw(3).hard_unlabelled)
    for pool in SEALED:
        assert other.sealed[pool].fingerprint != split.sealed[pool].fingerprint
        assert torch.equal(other.sealed[pool].open("ceiling"), 1 - split.sealed[pool].open("ceiling"))


def test_the_split_depends_on_its_seed_and_not_on_the_order_of_the_file():
    task = ranked(101)
    split = make_split(task, sizes())
    shuffled = random.Random(0).sample(task.examples, len(task.examples))
    same = make_split(task_of(shuffled), sizes())
    assert same.examples == split.examples
    assert torch.equal(same.groups, split.groups)
    assert same.inputs_fingerprint == split.inputs_fingerprint
    assert make_split(task, sizes(seed=1)).inputs_fingerprint != split.inputs_fingerprint


def test_changing_a_prompt_or_an_easy_label_changes_its_fingerprint():
    split = make_split(ranked(101), sizes())
    first = replace(split.examples[0], prompt="another")
    assert replace(split, examples=(first, *split.examples[1:])).inputs_fingerprint != split.inputs_fingerprint
    other = tuple({"yes": "no", "no": "yes"}[answer] for answer in split.easy_answers)
    assert replace(split, easy_answers=other).easy_fingerprint != split.easy_fingerprint


def test_a_class_more_changes_the_fingerprint_of_the_easy_labels_though_none_has_it():
    task = ranked(101)
    split = make_split(task, sizes())
    other = make_split(replace(task, choices=(*CHOICES, "maybe")), sizes())
    assert torch.equal(other.easy_labels, split.easy_labels)
    assert other.easy_fingerprint != split.easy_fingerprint
    assert other.inputs_fingerprint == split.inputs_fingerprint


def test_examples_of_like_text_are_one_group_whatever_their_case_and_spaces():
    texts = ["Is ICE  cold?", "is ice\ncold?", " Is ice cold? "]
    alike = [example(i, prompt=text, difficulty=0.0) for i, text in enumerate(texts)]
    rest = [example(i, difficulty=float(i)) for i in range(3, 101)]
    for seed in range(10):
        split = make_split(task_of(alike + rest), sizes(seed=seed))
        where = {pool for pool in split.pools for i in (0, 1, 2) if f"e{i:04}" in ids(split, pool)}
        assert len(where) <= 1


def test_a_chain_of_shared_groups_and_shared_texts_is_one_group():
    chain = [
        example(0, group="a", prompt="one", difficulty=0.0),
        example(1, group="a", prompt="two", difficulty=0.0),
        example(2, group="b", prompt="two", difficulty=0.0),
    ]
    rest = [example(i, difficulty=float(i)) for i in range(3, 101)]
    places = []
    for seed in range(10):
        split = make_split(task_of(chain + rest), sizes(seed=seed))
        used = [pool for pool in split.pools for e in chain if e.id in ids(split, pool)]
        assert used in ([], [*used[:1] * 3])  # all three together or none
        places += used
    assert set(places) == {"easy_pool", "id_test"}


def test_a_group_with_easy_and_hard_examples_is_left_out():
    task = ranked(101)
    torn = [replace(e, group_id="torn") if e.id in ("e0000", "e0100") else e for e in task.examples]
    config = sizes(n_id_test=20, n_ood_test=20, n_easy_train=10)
    used = {e.id for e in make_split(task_of(torn), config).examples}
    assert len(used) == 80  # all of the 40 + 40 that are left
    assert not used & {"e0000", "e0100"}


@st.composite
def tasks(draw: st.DrawFn) -> Task:
    """Few groups, few texts, few values of difficulty: everything collides."""
    n = draw(st.integers(60, 120))
    rng = random.Random(draw(st.integers(0, 2**32)))
    n_groups, n_texts, n_values = draw(st.integers(30, 200)), draw(st.integers(40, 400)), draw(st.integers(2, 200))
    return task_of(
        [
            example(
                i,
                group=f"g{rng.randrange(n_groups)}",
                prompt=rng.choice(["Text {}", "text  {}", " TEXT {}"]).format(rng.randrange(n_texts)),
                difficulty=float(rng.randrange(n_values)),
            )
            for i in range(n)
        ]
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(tasks(), st.integers(0, 5), st.floats(0.2, 0.5))
def test_no_group_no_text_and_no_difficulty_is_on_two_parts(task: Task, seed: int, cut: float):
    config = SplitConfig(
        seed=seed,
        easy_below=cut,
        hard_above=1 - cut,
        n_easy_pool=8,
        n_easy_train=4,
        n_easy_val=3,
        n_hard_pool=6,
        n_hard_unlabelled=4,
        n_id_test=3,
        n_ood_test=3,
    )
    try:
        split = make_split(task, config)
        draws = [split.draw(s) for s in range(3)]
    except DataError:
        assume(False)
    by_id = {e.id: e for e in task.examples}
    for key in (lambda e: e.group_id, lambda e: " ".join(e.prompt.casefold().split()), lambda e: e.id):
        parts = defaultdict(set)
        for pool, rows in split.pools.items():
            for i in rows:
                parts[key(split.examples[i])].add(pool)
        assert all(len(found) == 1 for found in parts.values())
        for d in draws:
            train, val = ({key(split.examples[i]) for i in rows.tolist()} for rows in (d.easy_train, d.easy_val))
            assert not train & val
    easiest_hard = min(by_id[i].difficulty for pool in ("hard_pool", "ood_test") for i in ids(split, pool))
    assert max(by_id[i].difficulty for pool in ("easy_pool", "id_test") for i in ids(split, pool)) < easiest_hard
    for pool, rows in split.pools.items():
        asked = getattr(config, f"n_{pool}")
        assert asked * (1 - TOLERANCE) <= len(rows) <= asked


def test_a_draw_takes_its_sizes_from_its_pool_and_differs_by_seed():
    split = make_split(ranked(101), sizes())
    a, again, b = split.draw(0), split.draw(0), split.draw(1)
    assert [len(rows) for rows in (a.easy_train, a.easy_val, a.hard_unlabelled)] == [12, 8, 15]
    # 12 + 8 is the whole easy pool
    assert sorted(a.easy_train.tolist() + a.easy_val.tolist()) == list(split.pools["easy_pool"])
    assert set(a.hard_unlabelled.tolist()) <= set(split.pools["hard_pool"])
    for name in ("easy_train", "easy_val", "hard_unlabelled"):
        assert torch.equal(getattr(a, name), getattr(again, name))
        assert not torch.equal(getattr(a, name), getattr(b, name))


def test_a_draw_as_large_as_its_pool_takes_all_of_it():
    split = make_split(ranked(101), sizes(n_hard_unlabelled=20))
    assert split.draw(0).hard_unlabelled.tolist() == list(split.pools["hard_pool"])


def test_a_draw_that_leaves_a_part_without_a_single_group_is_refused():
    grouped = [example(i, group=f"g{i // 5}", difficulty=float(i)) for i in range(100)]
    split = make_split(task_of(grouped), sizes(n_easy_val=4))
    with pytest.raises(DataError, match=r"seed 0: no whole group .* left for easy_val, which may hold 4; raise split"):
        split.draw(0)


def test_too_few_examples_are_refused_with_the_count_and_the_settings_to_lower():
    with pytest.raises(
        DataError,
        match=r"planted: the easy side has 41 examples .* too few for id_test and easy_pool \(50 together\); "
        r"lower split\.n_id_test or split\.n_easy_pool",
    ):
        make_split(ranked(101), sizes(n_easy_pool=40))
    with pytest.raises(DataError, match=r"the hard side has 41 .*lower split\.n_ood_test or split\.n_hard_pool"):
        make_split(ranked(101), sizes(n_hard_pool=32))


def test_a_group_too_large_for_a_part_is_refused_and_not_passed_over_in_silence():
    giant = [replace(e, group_id="giant") if e.difficulty < 35 else e for e in ranked(101).examples]  # type: ignore[operator]
    with pytest.raises(DataError, match=r"id_test gets 6 examples of 10, .*\(the smallest has 35\); set split\.n_id_t"):
        make_split(task_of(giant), sizes())


@pytest.mark.parametrize("side", ["easy", "hard"])
def test_a_pool_of_one_class_is_refused_without_naming_the_class(side: str):
    one = [
        replace(e, answer="yes") if (e.difficulty < 50) == (side == "easy") else e  # type: ignore[operator]
        for e in ranked(101).examples
    ]
    with pytest.raises(
        DataError, match=rf"all examples of {side}_pool have the same answer; .*n_{side}_pool"
    ) as caught:
        make_split(task_of(one), sizes())
    assert "yes" not in str(caught.value)


def test_an_example_without_difficulty_is_refused_with_its_id_and_both_mends():
    examples = [replace(e, difficulty=None) if e.id == "e0007" else e for e in ranked(101).examples]
    with pytest.raises(DataError, match=r"planted, example 'e0007': .*task\.difficulty.*difficulty\.source: entropy"):
        make_split(task_of(examples), sizes())


@pytest.fixture
def sealed() -> SealedLabels:
    return SealedLabels("hard_pool", torch.tensor([1, 0, 1]))


@pytest.mark.parametrize("purpose", ["ceiling", "evaluation"])
def test_the_ceiling_and_the_evaluation_get_a_copy_of_the_labels(sealed: SealedLabels, purpose: str):
    sealed.open(purpose).zero_()
    assert sealed.open(purpose).tolist() == [1, 0, 1]


def test_any_other_purpose_is_refused_by_name_with_what_is_allowed(sealed: SealedLabels):
    with pytest.raises(SealError, match=r"hard_pool are sealed: 'selection' asked .* ceiling and evaluation may"):
        sealed.open("selection")


@pytest.mark.parametrize("sneak", [copy.copy, copy.deepcopy, pickle.dumps])
def test_sealed_labels_are_neither_copied_nor_pickled(sealed: SealedLabels, sneak: Any):
    with pytest.raises(SealError, match="hard_pool are not to be copied or sent"):
        sneak(sealed)


def test_sealed_labels_show_their_number_and_nothing_else(sealed: SealedLabels):
    assert len(sealed) == 3
    assert repr(sealed) == str(sealed) == "SealedLabels(hard_pool, 3 labels)"
    with pytest.raises(TypeError):
        iter(sealed)  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        sealed[0]  # type: ignore[index]
    with pytest.raises(TypeError):
        vars(sealed)


def test_the_seals_fingerprint_follows_the_labels_without_opening_them(sealed: SealedLabels):
    assert sealed.fingerprint == SealedLabels("id_test", torch.tensor([1, 0, 1])).fingerprint
    assert sealed.fingerprint != SealedLabels("hard_pool", torch.tensor([1, 1, 1])).fingerprint


def file(name: str, n: int, *, answers: bool = True) -> tuple[Example, ...]:
    return tuple(
        Example(f"{name}{i:03}", f"{name}{i:03}", f"{name} {i}", CHOICES, CHOICES[i % 2] if answers else None)
        for i in range(n)
    )


def by_file(n_labelled: int = 40, n_unlabelled: int = 25, n_test: int = 12) -> Task:
    easy, hard, test = file("easy", n_labelled), file("hard", n_unlabelled, answers=False), file("test", n_test)
    return replace(task_of(easy), unlabelled=hard, test=test)


def test_where_the_hard_side_is_a_file_each_part_comes_from_its_own_file():
    split = make_split(by_file(), sizes())
    files = {"easy_pool": "easy", "hard_pool": "hard", "id_test": "easy", "ood_test": "test"}
    for pool, name in files.items():
        assert all(i.startswith(name) for i in ids(split, pool))
        assert len(ids(split, pool)) == getattr(sizes(), f"n_{pool}")
    assert set(split.sealed) == {"id_test", "ood_test"}
    assert split.difficulty.tolist() == [float(not e.id.startswith("easy")) for e in split.examples]
    assert {split.examples[i].id for i in split.draw(0).hard_unlabelled.tolist()} < ids(split, "hard_pool")


def test_without_a_test_file_there_is_no_hard_test():
    split = make_split(by_file(n_test=0), sizes())
    assert split.tests == ("id_test",)
    assert list(split.pools) == ["easy_pool", "hard_pool", "id_test"]
    assert set(split.sealed) == {"id_test"}


def test_what_two_files_have_stays_in_the_test_else_in_the_labelled_one():
    task = by_file(n_labelled=42, n_unlabelled=25, n_test=12)
    easy, hard, test = task.examples, task.unlabelled, task.test
    hard = (replace(hard[0], prompt="EASY  3"), replace(hard[1], prompt="test 1"), *hard[2:])
    easy = (replace(easy[0], group_id=test[5].group_id), *easy[1:])
    examples, sides = sides_by_file(replace(task, examples=easy, unlabelled=hard))
    left = {e.id for e in examples}
    assert left.isdisjoint({"hard000", "hard001", "easy000"})
    assert (sides.count("easy"), sides.count("hard"), sides.count("test")) == (41, 23, 12)


@pytest.mark.parametrize(
    ("few", "message"),
    [
        ({"n_labelled": 20}, r"the easy side has 20 .*lower split\.n_id_test or split\.n_easy_pool, or give more"),
        (
            {"n_unlabelled": 12},
            r"the hard side has 12 .*too few for hard_pool \(20 tog.*lower split\.n_hard_pool",
        ),
        ({"n_test": 4}, r"the test side has 4 .*too few for ood_test \(10 together\); lower split\.n_ood_test"),
    ],
)
def test_a_file_too_small_for_its_parts_is_refused_with_the_setting_to_lower(few: dict[str, int], message: str):
    with pytest.raises(DataError, match=message):
        make_split(by_file(**few), sizes())


def test_a_random_split_deals_all_examples_alike_and_needs_no_difficulty():
    task = task_of([example(i) for i in range(60)])
    split = make_split(task, sizes(kind="random"))
    assert {name: len(rows) for name, rows in split.pools.items()} == {
        "easy_pool": 20,
        "hard_pool": 20,
        "id_test": 10,
        "ood_test": 10,
    }
    assert len({e.id for e in split.examples}) == 60
    assert set(split.sealed) == set(SEALED)
    assert make_split(task, sizes(kind="random")).examples == split.examples
    assert make_split(task, sizes(kind="random", seed=1)).examples != split.examples


def test_in_a_random_split_every_part_has_easy_and_hard_examples():
    split = make_split(ranked(60), sizes(kind="random"))
    for rows in split.pools.values():
        found = split.difficulty[list(rows)]
        assert found.min() < 20
        assert found.max() > 40


def test_a_random_split_tears_no_group():
    task = task_of([example(i, group=f"g{i // 2}") for i in range(80)])
    split = make_split(task, sizes(kind="random"))
    for pool in split.pools:
        for other in split.pools:
            if pool != other:
                assert not {n[:4] + str(int(n[4:]) // 2) for n in ids(split, pool)} & {
                    n[:4] + str(int(n[4:]) // 2) for n in ids(split, other)
                }


def test_too_few_examples_for_a_random_split_are_refused():
    with pytest.raises(DataError, match=r"the only side has 50 examples, too few for .* \(60 together\); lower"):
        make_split(ranked(50), sizes(kind="random"))
