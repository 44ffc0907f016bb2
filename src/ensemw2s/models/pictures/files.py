"""Pictures of prompts, opened as the library's image processors want them."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from ensemw2s.errors import DataError, ModelError
from ensemw2s.hashing import sha256_of
from ensemw2s.pictures import content, pictures_of

if TYPE_CHECKING:
    from PIL.Image import Image

LARGEST = 2**26
"""Most pixels of a picture that is opened: a small file can unpack into many."""


def open_pictures(prompt: str, name: str, mode: str) -> "list[Image]":
    """The pictures of a prompt, in order.

    Args:
        name: of the example, for messages.
        mode: Pillow's, such as `RGB`, or `L` for grey.

    Raises:
        DataError: a file is absent, no picture or a damaged one, too large, or changed since the prompt was made.
        ModelError: Pillow is not installed.
    """
    return [_opened(Path(path), digest, name, mode) for path, digest in pictures_of(prompt)]


def check_pillow(model: str) -> None:
    """Raises ModelError where Pillow is not installed."""
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise ModelError(
            f"{model}: reading pictures needs the package pillow, which is not installed; install it with: "
            "pip install 'ensemw2s[pictures]'"
        ) from None


def _opened(path: Path, digest: str | None, name: str, mode: str) -> "Image":
    from PIL import Image, UnidentifiedImageError

    data = content(path, f"example {name!r}")
    if digest is not None and sha256_of(data) != digest:
        raise DataError(
            f"example {name!r}: the picture {path} has changed since its prompt was made; restore it, or load the data "
            "again"
        )
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.width * picture.height > LARGEST:
                raise DataError(
                    f"example {name!r}: the picture {path} has {picture.width} x {picture.height} pixels, more than "
                    f"the {LARGEST:,} that are read; make it smaller"
                )
            return picture.convert(mode)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # Pillow names the object that holds an unknown file, which is another one each time.
        is_unknown = isinstance(error, UnidentifiedImageError)
        reason = "of no known format" if is_unknown else " ".join(str(error).split())[:120]
        raise DataError(
            f"example {name!r}: {path} is no picture that can be opened ({reason}); save it as PNG or JPEG"
        ) from None
