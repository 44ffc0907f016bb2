"""digits: which digit is on this picture? scikit-learn's 1,797 images of 8 x 8, each with noise of its own strength.

Difficulty is the strength of the noise, which is drawn by the image's id: a fact of the world that no model had a part
in. Nothing is fetched.
"""

import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ensemw2s.config.task import TaskSettings
from ensemw2s.core.seeds import stream_seed
from ensemw2s.errors import DataError
from ensemw2s.examples import Example, Task
from ensemw2s.hashing import canonical_hash
from ensemw2s.pictures import placed, written
from ensemw2s.storage.caches import cached_folder
from ensemw2s.storage.files import cache_home

CHOICES = tuple(str(digit) for digit in range(10))
SIZE, BRIGHTEST = 8, 16
SOURCE = "Optical Recognition of Handwritten Digits (UCI, CC BY 4.0), through scikit-learn's load_digits"
VERSION = 1
"""Raise it when the pictures become others."""


class Digits(TaskSettings):
    name: Literal["digits"] = "digits"
    noise: Annotated[float, Field(ge=0)] = 8.0
    """Standard deviation of the strongest noise; a pixel reaches from 0 to 16."""
    seed: int = 0
    """Of each picture's strength of noise and of the noise itself."""

    reads = "pictures"

    def load(self) -> Task:
        """One example per image: a grey PNG, written once below `$ENSEMW2S_HOME`.

        Raises:
            DataError: Pillow, which writes the pictures, is not installed.
        """
        clean, labels = clean_digits()
        noisy, strengths = self._noisy(clean)
        name = canonical_hash({"version": VERSION, **self.model_dump(include={"noise", "seed"})})[:16]

        def write(folder: Path) -> None:
            for i, pixels in enumerate(noisy):
                _write_png(folder / f"{_id(i)}.png", pixels)

        folder = cached_folder(
            cache_home() / "data" / f"digits-{name}", write, echo=lambda text: print(text, file=sys.stderr)
        )
        examples = [
            Example(
                id=_id(i),
                group_id=_id(i),
                prompt=placed(written(Path(f"{_id(i)}.png")), folder, f"digits, example {_id(i)}"),
                choices=CHOICES,
                answer=CHOICES[label],
                difficulty=strength,
            )
            for i, (label, strength) in enumerate(zip(labels, strengths, strict=True))
        ]
        meaning = f"strength of the picture's noise, from none to a standard deviation of {self.noise:g} of 16"
        return Task("digits", tuple(examples), CHOICES, SOURCE, meaning)

    def _noisy(self, clean: Sequence[Sequence[float]]) -> tuple[list[list[float]], list[float]]:
        """Every image with its own noise, and how strong that is, from 0 to 1."""
        noisy, strengths = [], []
        for i, pixels in enumerate(clean):
            generator = random.Random(stream_seed(self.seed, "digits", _id(i)))
            strengths.append(strength := generator.random())
            drawn = (pixel + self.noise * strength * generator.gauss() for pixel in pixels)
            noisy.append([min(max(pixel, 0.0), float(BRIGHTEST)) for pixel in drawn])
        return noisy, strengths


def clean_digits() -> tuple[list[list[float]], list[int]]:
    """Pixels of each image, row by row from 0 to 16, and the digit on it."""
    from sklearn.datasets import load_digits  # settings must load without it

    data, target = load_digits(return_X_y=True)
    return data.tolist(), target.tolist()


def place_of(example_id: str) -> int:
    """The place in scikit-learn's data of the image that an example was made of."""
    return int(example_id.removeprefix("digit-"))


def _id(place: int) -> str:
    return f"digit-{place:04d}"


def _write_png(path: Path, pixels: Sequence[float]) -> None:
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError(
            "task.name: digits writes its pictures by the package pillow, which is not installed; install it with: "
            "pip install 'ensemw2s[pictures]'"
        ) from error
    grey = bytes(round(pixel * 255 / BRIGHTEST) for pixel in pixels)
    # Uncompressed, so that a file and its hash do not depend on the compressor's version.
    Image.frombytes("L", (SIZE, SIZE), grey).save(path, compress_level=0)
