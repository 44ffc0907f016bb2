"""Short texts that people rated from -4 to 4, from the source archive of the package vaderSentiment.

Hutto and Gilbert, VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text, ICWSM 2014; MIT.
"""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path

from ensemw2s.data.package_index import source_archive
from ensemw2s.errors import DataError
from ensemw2s.hashing import sha256_of
from ensemw2s.storage.caches import cached_folder
from ensemw2s.storage.files import cache_home

SOURCE = "Hutto and Gilbert, ICWSM 2014, from the source archive of vaderSentiment 3.3.2, MIT"
AGAIN = "fetch them again with: ensemw2s fetch sentiment"
DOMAINS = {
    "films": "movieReviewSnippets",
    "products": "amazonReviewSnippets",
    "editorials": "nytEditorialSnippets",
    "tweets": "tweets",
}
"""Domain to the first part of its files' names."""
TEXTS, RATINGS = "_GroundTruth.txt", "_anonDataRatings.txt"
IN_DOCUMENTS = ("products", "editorials")
"""Domains whose texts are sentences of a document; the document's number precedes the underscore in their ids."""
_OUTER = ("vaderSentiment-3.3.2.tar.gz", 2_466_783, "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9")
_INNER = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
_INNER_SHA256 = "d5bb07d87474b3eb8d30b4deccbc23f19d742a6c5718fbacc65485b70b95c5fa"


@dataclass(frozen=True)
class RatedText:
    """A text and what people on average made of it."""

    domain: str
    name: str
    """Within its domain."""
    text: str
    mean: float
    """Of the ratings, -4 to 4."""
    ratings: tuple[int, ...]
    """In the order of the file. No place in it is one person: batches of texts had 15 to 99 raters each."""

    @property
    def document(self) -> str:
        """What it is a sentence of, or itself."""
        return self.name.partition("_")[0] if self.domain in IN_DOCUMENTS else self.name


def ratings_folder() -> Path:
    """Where the ratings are kept once they were fetched."""
    return cache_home() / "data" / "sentiment"


def fetch_ratings(*, echo: Callable[[str], object] = print) -> Path:
    """The folder of the ratings, downloaded at the first call and checked at every one.

    Raises:
        DataError: as `source_archive`, or the inner archive is not the expected one.
        RunError: the disk refuses.
    """

    def make(folder: Path) -> None:
        name, n_bytes, sha256 = _OUTER
        echo(f"{name}: downloading {n_bytes / 1e6:.1f} MB")
        outer = source_archive("vaderSentiment", name, n_bytes=n_bytes, sha256=sha256)
        inner = _members(outer, [_INNER])[_INNER]
        if (digest := sha256_of(inner)) != _INNER_SHA256:
            raise DataError(f"{_INNER}: sha256 is {digest}, not {_INNER_SHA256}; it is not used")
        wanted = [f"hutto_ICWSM_2014/{stem}{part}" for stem in DOMAINS.values() for part in (TEXTS, RATINGS)]
        for path, content in _members(inner, wanted).items():
            (folder / path.rpartition("/")[2]).write_bytes(content)

    return cached_folder(ratings_folder(), make, echo=echo)


def _members(archive: bytes, names: list[str]) -> dict[str, bytes]:
    """These files of a tar archive; nothing else of it is read."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return {name: file.read() for name in names if (file := opened.extractfile(name)) is not None}


def rated_texts(folder: Path, domain: str) -> Iterator[RatedText]:
    """The texts of a domain.

    A few hundred tweets have another mean beside their text than beside their ratings, always of the same sign: that of
    the ratings counts.

    Raises:
        DataError: a file is missing, or a line is malformed.
    """
    stem = DOMAINS[domain]
    texts = {name: text for name, _, text in _rows(folder / f"{stem}{TEXTS}", n_columns=3)}
    rated = {name: rest for name, *rest in _rows(folder / f"{stem}{RATINGS}", n_columns=4)}
    place = folder / f"{stem}{RATINGS}"
    for name, text in texts.items():
        if name not in rated:
            raise DataError(f"{place}: no ratings of {name!r}, which has a text; {AGAIN}")
        mean, ratings = _mean(rated[name][0]), _ratings(rated[name][2])
        if mean is None:
            raise DataError(f"{place}: the mean of {name!r} is {rated[name][0]!r}, no number from -4 to 4; {AGAIN}")
        if ratings is None:
            raise DataError(
                f"{place}: the ratings of {name!r} are {rated[name][2]!r:.80}, no list of whole numbers from -4 to 4; "
                f"{AGAIN}"
            )
        if text.strip():
            yield RatedText(domain, name, unescape(text).strip(), mean, ratings)


def _mean(text: str) -> float | None:
    """A mean rating; None where it is none."""
    try:
        mean = float(text)
    except ValueError:
        return None
    return mean if -4 <= mean <= 4 else None


def _ratings(text: str) -> tuple[int, ...] | None:
    """A list of ratings; None where it is none."""
    try:
        ratings = json.loads(text)
    except (ValueError, RecursionError):
        return None
    is_list = isinstance(ratings, list) and all(type(r) is int and -4 <= r <= 4 for r in ratings)
    return tuple(ratings) if is_list else None


def _rows(path: Path, *, n_columns: int) -> Iterator[list[str]]:
    """The first columns of each line of a tab-separated file."""
    try:
        lines = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({type(error).__name__}); {AGAIN}") from None
    for n, line in enumerate(lines, start=1):
        cells = line.split("\t")
        if not line.strip():
            continue
        if len(cells) < n_columns:
            raise DataError(f"{path}, line {n}: {len(cells)} columns, not at least {n_columns}; {AGAIN}")
        yield cells[:n_columns]
