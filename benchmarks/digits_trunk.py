"""Trains the vision trunk of the task `digits`, without labels, on the pools' pictures alone.

    python benchmarks/digits_trunk.py runs/digits-trunk

A vision transformer of 16 patches reads a picture with noise of a drawn strength and a quarter of its patches masked;
from the mean of its patches' states alone a linear map must give the picture without noise. The library's own loss on
masked patches (`ViTForMaskedImageModeling`) predicts each patch from that patch's state and leaves the pooled feature
untrained: with 1,000 steps of it a linear probe had 0.62 of hard pictures right, with 750 of this 0.79 (raw pixels
0.74).

No picture of a test is read, and none of the examples that no part of the split has a use for.
"""

import argparse
import math
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import ViTConfig, ViTModel

from ensemw2s.config import load_config
from ensemw2s.core.seeds import stream
from ensemw2s.data.load import load_task
from ensemw2s.data.splits import make_split
from ensemw2s.data.tasks.digits import BRIGHTEST, SIZE, Digits, clean_digits, place_of
from ensemw2s.models.loading.tiny_pictures import grey_processor, write_vision

CONFIG = Path(__file__).parent.parent / "configs" / "tasks" / "digits.yaml"
WIDTH, LAYERS, PATCH = 64, 4, 2
N_PATCHES = (SIZE // PATCH) ** 2
MASKED, BATCH, RATE, WARMUP = 0.25, 256, 2e-3, 100


def pictures_of_the_pools(config: Path) -> tuple[Tensor, float]:
    """The clean pictures of both pools, from -1 to 1, and the strongest noise on that scale."""
    settings = load_config(config)
    task = settings.task
    assert isinstance(task, Digits)
    split = make_split(load_task(task), settings.split)
    rows = [*split.pools["easy_pool"], *split.pools["hard_pool"]]
    clean = torch.tensor(clean_digits()[0]) * 2 / BRIGHTEST - 1
    return clean[[place_of(split.examples[row].id) for row in rows]], task.noise * 2 / BRIGHTEST


def train(clean: Tensor, noise: float, *, steps: int, seed: int) -> ViTModel:
    """The trunk, trained to see the clean picture in a noisy one."""
    torch.manual_seed(seed)
    sizes = {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
    }
    shape = {"image_size": SIZE, "patch_size": PATCH, "num_channels": 1}
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    trunk = ViTModel(ViTConfig(**sizes, **shape, **still), add_pooling_layer=False, use_mask_token=True)
    seen = nn.Linear(WIDTH, SIZE * SIZE)
    optimiser = torch.optim.AdamW([*trunk.parameters(), *seen.parameters()], lr=RATE, weight_decay=0.05)
    pace = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, (step + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    generator, started = stream(seed, "digits-trunk"), time.monotonic()
    for step in range(1, steps + 1):
        target = clean[torch.randint(len(clean), (BATCH,), generator=generator)]
        strength = noise * torch.rand(BATCH, 1, generator=generator)
        pixels = (target + strength * torch.randn(target.shape, generator=generator)).clamp(-1, 1)
        masked = torch.rand(BATCH, N_PATCHES, generator=generator) < MASKED
        states = trunk(pixels.view(-1, 1, SIZE, SIZE), bool_masked_pos=masked).last_hidden_state
        loss = (seen(states[:, 1:].mean(1)) - target).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        pace.step()
        if step % 100 == 0 or step == steps:
            print(f"step {step} of {steps}: loss {loss.item():.4f}, {time.monotonic() - started:.0f} s", flush=True)
    return trunk


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="to be written")
    parser.add_argument("--config", type=Path, default=CONFIG, help="whose split says which pictures are read")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    wishes = parser.parse_args()
    trunk = train(*pictures_of_the_pools(wishes.config), steps=wishes.steps, seed=wishes.seed)
    write_vision(wishes.folder, trunk, grey_processor(SIZE))


if __name__ == "__main__":
    main()
