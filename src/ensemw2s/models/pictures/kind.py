"""What kind of prompts a model reads, by its folder alone, and whether a task's prompts are of that kind."""

from collections.abc import Sequence
from typing import Literal

from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from ensemw2s.config import ModelConfig
from ensemw2s.errors import DataError, ModelError
from ensemw2s.models.loading.checkpoint import checkpoint_folder
from ensemw2s.models.loading.contents import read_settings
from ensemw2s.pictures import has_picture, is_picture, shown

Kind = Literal["text", "vision", "multimodal"]
PROCESSOR = "preprocessor_config.json"
TOKENIZERS = ("tokenizer_config.json", "tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model")


def kind_of(config: ModelConfig) -> Kind:
    """`vision` where a model's folder has an image processor and no tokenizer. Raises ModelError."""
    folder = checkpoint_folder(config)
    if read_settings(config.model, folder / "config.json").get("model_type") in (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    ):
        return "multimodal"
    has_processor = (folder / PROCESSOR).is_file() and not any((folder / name).is_file() for name in TOKENIZERS)
    return "vision" if has_processor else "text"


def check_prompts(config: ModelConfig, ids: Sequence[str], prompts: Sequence[str]) -> None:
    """Whether a model reads prompts of this kind. No weight is loaded.

    Raises:
        ModelError: a text model shall read pictures, or a multimodal one, of which heads alone are trained, more.
        DataError: a vision model shall read anything but one picture.
    """
    kind = kind_of(config)
    if kind == "text" and (place := next((i for i, p in enumerate(prompts) if has_picture(p)), None)) is not None:
        raise ModelError(
            f"{config.model}: the example {ids[place]!r} holds a picture ({shown(prompts[place]):.200}), and this "
            "model reads text alone; name a vision model, or a multimodal one, or leave pictures out of the prompts"
        )
    if kind == "vision" and (place := next((i for i, p in enumerate(prompts) if not is_picture(p)), None)) is not None:
        raise DataError(
            f"{config.model}: the example {ids[place]!r} is {shown(prompts[place])[:60]!r}, and a vision model reads "
            "one picture and nothing else; make the prompt ![](path), or name a text or multimodal model"
        )
    if kind != "text":
        _check_settings(config, kind)


def _check_settings(config: ModelConfig, kind: Kind) -> None:
    """Raises ModelError where a setting is none of a model that reads pictures."""
    if config.adapter != "head":
        raise ModelError(
            f"{config.model}: adapter: {config.adapter} trains layers, and of a {kind} model only heads on its frozen "
            "features are trained; choose adapter: head"
        )
    if config.chat:
        raise ModelError(f"{config.model}: chat: true asks for turns, and a {kind} model is read without; leave it out")
    allowed = ("mean", "cls", None) if kind == "vision" else ("last", None)
    if config.pooling not in allowed:
        named = " or ".join(name for name in allowed if name)
        raise ModelError(
            f"{config.model}: pooling: {config.pooling} is none of a {kind} model; set {named}, or leave it out"
        )
