"""Vision families beside ViT, with random weights: read as the library's own model, or refused by name."""

import pytest
import torch
import transformers as library
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from ensemw2s.config import ModelConfig
from ensemw2s.errors import ModelError
from ensemw2s.models.loading.tiny_pictures import write_vision
from ensemw2s.models.pictures.vision import load_vision

pytestmark = pytest.mark.families
LAYERS = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 32, "patch_size": 8}
STAGES = {"depths": [1, 1, 1], "hidden_sizes": [8, 16, 24]}
READ = {
    "dinov2": (library.Dinov2Config(**LAYERS), library.Dinov2Model),
    "registers": (library.Dinov2WithRegistersConfig(**LAYERS, num_register_tokens=2), library.Dinov2WithRegistersModel),
    "deit": (library.DeiTConfig(**LAYERS, intermediate_size=64), library.DeiTModel),
    "clip": (library.CLIPVisionConfig(**LAYERS, intermediate_size=64), library.CLIPVisionModel),
    "convnext": (library.ConvNextConfig(num_stages=3, **STAGES), library.ConvNextModel),
    "resnet": (library.ResNetConfig(embedding_size=8, layer_type="basic", **STAGES), library.ResNetModel),
}


def written(folder, config, kind):
    torch.manual_seed(0)
    processor = ViTImageProcessorPil(size={"height": 32, "width": 32})
    return ModelConfig(model=str(write_vision(folder, kind(config), processor)), dtype="float32")


@pytest.mark.parametrize("family", READ)
def test_every_depth_is_the_librarys(family, tmp_path):
    trunk = load_vision(written(tmp_path / "model", *READ[family]))
    trunk.prove([1, 2, 3])
    pixels = trunk.sample(2)
    with torch.no_grad():
        states = trunk.model(pixel_values=pixels).last_hidden_state
    n_before = {"registers": 3, "deit": 2}.get(family, 1)
    expected = states.mean((2, 3)) if states.ndim == 4 else states[:, 0]
    torch.testing.assert_close(trunk.pooled(pixels, [3])[3], expected)
    if states.ndim == 3:
        mean = load_vision(trunk.config.model_copy(update={"pooling": "mean"}))
        torch.testing.assert_close(mean.pooled(pixels, [3])[3], states[:, n_before:].mean(1))


def test_a_family_that_grows_between_its_stages_is_read_at_the_end_alone(tmp_path):
    config = library.SwinConfig(
        image_size=32, patch_size=4, embed_dim=8, depths=[1, 1, 1], num_heads=[2, 2, 2], window_size=2
    )
    trunk = load_vision(written(tmp_path / "model", config, library.SwinModel))
    trunk.prove([3])
    with pytest.raises(ModelError, match="after 1 of its layers cannot be read"):
        trunk.prove([1, 3])
