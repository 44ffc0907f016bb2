"""How a model reads prompts that hold pictures, without its weights: their lengths, and why one cannot be read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import AutoProcessor

from ensemw2s.config import ModelConfig
from ensemw2s.errors import DataError
from ensemw2s.models.loading.checkpoint import checkpoint_folder, own_code
from ensemw2s.models.loading.quiet import quiet
from ensemw2s.models.loading.refusal import explained
from ensemw2s.models.pictures.files import check_pillow, open_pictures
from ensemw2s.models.pictures.frozen import open_processor
from ensemw2s.models.pictures.kind import kind_of
from ensemw2s.pictures import is_picture, shown, split_at_pictures

ROW = "of this row"
"""What a picture's messages call the example; a reason is shown beside its row and leaves that out."""


@dataclass(frozen=True)
class PictureReader:
    """Reads the prompts of a vision model, or those of a multimodal one, whose processor says how long they are."""

    max_length: int
    """Largest number of tokens of a multimodal model's prompt, those of its pictures counted."""
    processor: Any = None
    """The library's processor of a multimodal model; None: it is a vision model."""

    def sizes(self, prompts: Sequence[str]) -> list[tuple[int, str]]:
        """Number of tokens of each prompt (1 of a vision model), and why it cannot be read; empty where it can."""
        return [self._size(prompt) for prompt in prompts]

    def _size(self, prompt: str) -> tuple[int, str]:
        if self.processor is None and not is_picture(prompt):
            said = f"its prompt is {shown(prompt)[:60]!r}, and a vision model reads one picture and nothing else"
            return 1, f"{said}; make it ![](path) or delete the row"
        try:
            pictures = open_pictures(prompt, ROW, "RGB")
        except DataError as error:
            return 1, str(error).removeprefix(f"example {ROW!r}: ")
        if self.processor is None:
            return 1, ""
        texts = split_at_pictures(prompt)
        if any(self.processor.image_token in text for text in texts):
            return 1, f"its text holds {self.processor.image_token}, the model's own token for a picture; take it out"
        size = read_with(self.processor, texts, pictures)["input_ids"].shape[1]
        if 1 <= size <= self.max_length:
            return size, ""
        return max(size, 1), (
            f"its prompt has {size} tokens, those of its pictures counted, and the models read 1 to "
            f"{self.max_length}; shorten it or delete the row"
        )


def read_with(processor: Any, texts: Sequence[str], pictures: Sequence[Any]) -> dict[str, Tensor]:
    """What a multimodal model reads of the texts before, between and behind pictures."""
    text = processor.image_token.join(texts)
    return dict(processor(text=[text], images=[list(pictures)] if pictures else None, return_tensors="pt"))


def open_picture_reader(config: ModelConfig) -> PictureReader:
    """The reader of a model that reads pictures.

    Raises:
        ModelError: there is no such model, or Pillow is not installed.
    """
    check_pillow(config.model)
    if kind_of(config) == "vision":
        return PictureReader(config.max_length)
    folder = checkpoint_folder(config)
    with quiet(), explained(config.model, folder):
        processor = open_processor(folder, own_code(config, folder), AutoProcessor)
    return PictureReader(config.max_length, processor)
