"""Small copies of the pictures that a report shows, so that its page needs none of their files."""

import base64
import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ensemw2s.errors import DataError
from ensemw2s.models.pictures.files import open_pictures
from ensemw2s.pictures import at_short_names, pictures_of, short_name, written
from ensemw2s.results import Results

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 96
"""Most pixels of a thumbnail's side."""
COLOURS = 64
"""Of a thumbnail: with its side they bound its size, at 10 kB."""
MOST = 200
"""Thumbnails of a report; further pictures are named."""


def with_thumbnails(results: Results, prompts: Iterable[str]) -> Results:
    """The results with thumbnails of the first pictures that their page shows.

    A picture whose file is gone or damaged has none, and without Pillow there are none at all.

    Args:
        prompts: among them those of the items that are shown, with the paths of their pictures.
    """
    texts = [item.text for item in results.items.items] if results.items else []
    if results.task.easy_example is not None:
        texts.insert(0, results.task.easy_example.text)
    wanted = dict.fromkeys(name for text in texts for _, name in at_short_names(text) if name is not None)
    if not wanted:
        return results
    # The short name says the content well enough to show it, and two files of one name and content look alike.
    files = {short_name(path, digest): (path, digest) for prompt in prompts for path, digest in pictures_of(prompt)}
    found: dict[str, str] = {}
    for name in [each for each in wanted if each in files][:MOST]:
        path, digest = files[name]
        try:
            (picture,) = open_pictures(written(Path(path), digest), name, "RGB")
        except (DataError, ImportError):
            continue
        found[name] = thumbnail(picture)
    return results.model_copy(update={"thumbnails": found})


def thumbnail(picture: "Image") -> str:
    """A small PNG in base64. A tiny picture is magnified pixel by pixel, which shows what a model reads of it."""
    from PIL.Image import Resampling

    picture.thumbnail((SIDE, SIDE))
    if (times := SIDE // max(picture.size)) > 1:
        picture = picture.resize((picture.width * times, picture.height * times), Resampling.NEAREST)
    data = io.BytesIO()
    picture.quantize(COLOURS).save(data, "PNG", optimize=True)
    return base64.b64encode(data.getvalue()).decode("ascii")
