"""The trunk of a model that reads pictures, by the kind of its folder."""

from ensemw2s.config import ModelConfig
from ensemw2s.models.pictures.kind import kind_of
from ensemw2s.models.pictures.multimodal import MultimodalTrunk, load_multimodal
from ensemw2s.models.pictures.vision import VisionTrunk, load_vision


def open_pictures(config: ModelConfig) -> VisionTrunk | MultimodalTrunk | None:
    """The trunk at the depth of its settings; None where the model reads text alone.

    Raises:
        ModelError: as `load_vision` and `load_multimodal`.
    """
    kind = kind_of(config)
    return None if kind == "text" else load_vision(config) if kind == "vision" else load_multimodal(config)
