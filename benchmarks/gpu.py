"""The tables of `adapters.py` and `training.py` on a GPU: random weights of real shapes, the device's own precision.

    python benchmarks/gpu.py            # under 8 minutes on one GPU
    python benchmarks/gpu.py --tiny     # the same lines on any machine, of models too small to mean anything

Decoding with eight LoRA experts at batch 8 for all shapes; training for the two smaller ones.
"""

import argparse
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

import adapters
import training
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.loading.load import choose_dtype, device, make_backbone
from ensemw2s.models.loading.tiny import byte_tokenizer
from ensemw2s.models.vocabulary import VocabularyHead

# hidden size, layers, heads, key-value heads, inner size of the MLP, vocabulary
SHAPES = {
    "135M (SmolLM2)": (576, 30, 9, 3, 1536, 49152),
    "0.5B (Qwen2.5)": (896, 24, 14, 2, 4864, 151936),
    "1.5B (Qwen2.5)": (1536, 28, 12, 2, 8960, 151936),
}
TINY = {"tiny": (32, 2, 4, 2, 64, 2048)}


def random_backbone(shape: tuple[int, int, int, int, int, int]) -> Backbone:
    hidden, layers, heads, kv_heads, inner, vocabulary = shape
    config = LlamaConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=inner,
        vocab_size=vocabulary,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    with device():
        model = LlamaForCausalLM(config).to(choose_dtype(adapters.CONFIG))
    trunk = model.model
    head = VocabularyHead(model)
    return make_backbone(trunk, byte_tokenizer(), name="random", fingerprint="random", head=head)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    if not arguments.tiny and not torch.cuda.is_available():
        raise SystemExit("no CUDA device; on a CPU run adapters.py and training.py, or try this one with --tiny")
    print(torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU")
    start = time.monotonic()
    for name, shape in (TINY if arguments.tiny else SHAPES).items():
        print(f"\n{name}", flush=True)
        backbone = random_backbone(shape)
        adapters.compare(backbone, (8,))
        if shape[0] < 1024:
            training.compare(backbone)
    print(f"\n{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
