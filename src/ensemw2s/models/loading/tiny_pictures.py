"""As `tiny`, random models that read pictures: a vision transformer, and a language model with one before it."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedModel,
    ViTConfig,
    ViTModel,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from ensemw2s.models.loading.quiet import quiet
from ensemw2s.models.loading.tiny import SPECIAL, byte_tokenizer, draw_matrices
from ensemw2s.storage.files import new_folder

IMAGE = "<image>"
SIDE, PATCH = 8, 2


def make_tiny_vision(folder: Path, *, seed: int = 0, n_layers: int = 4, hidden_size: int = 32) -> Path:
    """Write a vision transformer of random weights for grey pictures, and its image processor."""
    config = ViTConfig(
        image_size=SIDE,
        patch_size=PATCH,
        num_channels=1,
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=n_layers,
        num_attention_heads=4,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ViTModel(config, add_pooling_layer=False)
    return write_vision(folder, draw_matrices(model, seed), grey_processor(SIDE))


def grey_processor(side: int) -> ViTImageProcessorPil:
    """An image processor for grey pictures of this size, which are read from -1 to 1."""
    return ViTImageProcessorPil(
        size={"height": side, "width": side}, image_mean=[0.5], image_std=[0.5], do_convert_rgb=False
    )


def write_vision(folder: Path, model: PreTrainedModel, processor: ViTImageProcessorPil) -> Path:
    """Write a vision model and its image processor into `folder`."""
    with new_folder(folder) as temporary, quiet():
        model.save_pretrained(temporary)
        processor.save_pretrained(temporary)
    return folder


def make_tiny_multimodal(folder: Path, *, seed: int = 0, n_layers: int = 2, hidden_size: int = 32) -> Path:
    """Write a LLaVA of random weights, its processor and a byte-level tokenizer with a token for a picture."""
    sizes: dict[str, Any] = {
        "hidden_size": hidden_size,
        "intermediate_size": 2 * hidden_size,
        "num_hidden_layers": n_layers,
        "num_attention_heads": 4,
    }
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE]})
    image_id = tokenizer.convert_tokens_to_ids(IMAGE)
    assert isinstance(image_id, int)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(image_size=SIDE, patch_size=PATCH, projection_dim=hidden_size, **sizes),
        text_config=LlamaConfig(
            vocab_size=len(tokenizer),
            num_key_value_heads=2,
            max_position_embeddings=1024,
            pad_token_id=SPECIAL.index("<pad>"),
            bos_token_id=SPECIAL.index("<eos>"),
            eos_token_id=SPECIAL.index("<eos>"),
            **sizes,
        ),
        image_token_index=image_id,
        image_seq_length=(SIDE // PATCH) ** 2,
    )
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}),
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token=IMAGE,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = draw_matrices(LlavaForConditionalGeneration(config), seed)
    with new_folder(folder) as temporary, quiet():
        model.save_pretrained(temporary)
        processor.save_pretrained(temporary)
    return folder


MAKERS = {"tiny-vision": make_tiny_vision, "tiny-multimodal": make_tiny_multimodal}
"""By the name of the model (`names.TINY_MODELS`)."""
