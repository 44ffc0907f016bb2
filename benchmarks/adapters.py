"""What T = 8 LoRA experts (rank 8, all linear layers) of one base cost when they decide together at every token.

    python benchmarks/adapters.py

Seconds per token of SmolLM2's shapes at batch 4 and 16, against one LoRA model; against 8 whole models, one after
another; and against peft's way, `generate` with `adapter_names` and a logits processor that mixes. Weights in memory.
"""

from collections.abc import Callable, Sequence

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LogitsProcessor, LogitsProcessorList

from decode import PROMPT, one_after_another, speeds, tokens, whole_models
from ensemw2s.config import ModelConfig
from ensemw2s.core.seeds import stream
from ensemw2s.ensemble.words.members import SharedTrunk
from ensemw2s.models.language import AnswerModel
from ensemw2s.models.loading.anatomy import memory_of
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.loading.load import load_backbone
from side_by_side import ratio, shown, steady

T, RANK, STEPS = 8, 8, 8
CONFIG = ModelConfig(adapter="lora", lora_rank=RANK, lora_alpha=2 * RANK)


class Mixed(LogitsProcessor):
    """Every member gets the ensemble's distribution."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        each = scores.float().log_softmax(-1).unflatten(0, (T, -1))
        return each.exp().mean(0).log().repeat(T, 1)


def peft_members(backbone: Backbone) -> PeftModel:
    """One whole model with T named adapters."""
    lora = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(whole_models(backbone, 1)[0], lora, adapter_name="m0")
    for t in range(1, T):
        model.add_adapter(f"m{t}", lora)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.01)
    return model.to(backbone.device, backbone.dtype).eval()


def by_names(model: PeftModel, batch: int) -> Callable[[], None]:
    ids = torch.randint(1000, 2000, (batch, PROMPT), generator=stream(0, "ids")).repeat(T, 1).to(model.device)
    names = [f"m{t}" for t in range(T) for _ in range(batch)]

    def work() -> None:
        with torch.no_grad():
            model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                adapter_names=names,
                logits_processor=LogitsProcessorList([Mixed()]),
                do_sample=False,
                min_new_tokens=1 + STEPS,
                max_new_tokens=1 + STEPS,
                pad_token_id=0,
            )

    return work


def compare(backbone: Backbone, batches: Sequence[int]) -> None:
    """Print the table of one base."""
    models = [
        AnswerModel(backbone, backbone.unembedding, CONFIG, init_noise=0.1, generator=stream(t, "expert")).eval()
        for t in range(T)
    ]
    compute, memory = speeds(backbone)
    machine = f"{compute / 1e9:.0f} G multiply-adds/s, {memory / 1e9:.1f} GB/s"
    print(f"{backbone.dtype}, {torch.get_num_threads()} threads: {machine}")
    together = SharedTrunk(backbone, models)
    single = together.alone(0)
    print(f"weights in memory: {together.n_bytes / memory_of(backbone.model.parameters()):.2f} times one model")
    n_weights = sum(p.numel() for p in {id(p): p for p in backbone.model.parameters()}.values())
    whole, named = whole_models(backbone, T), peft_members(backbone)
    for batch in batches:
        ours = tokens(together, batch, STEPS)
        print(f"batch {batch}: the same against itself: {steady(ours):.2f}")
        found, values = ratio(ours, tokens(single, batch, STEPS), repeats=5)
        read = n_weights * backbone.dtype.itemsize / memory
        roof = max(read, T * batch * n_weights / compute) / max(read, batch * n_weights / compute)
        print(f"batch {batch}: {T} adapters / one: {found:.2f} ({shown(values)}); roofline {roof:.2f}")
        found, values = ratio(one_after_another(whole, backbone, batch, STEPS), ours, repeats=5)
        print(f"batch {batch}: {T} whole models one after another / ours: {found:.2f} ({shown(values)})")
        found, values = ratio(by_names(named, batch), ours, repeats=5)
        print(f"batch {batch}: peft's adapter_names / ours: {found:.2f} ({shown(values)})", flush=True)


if __name__ == "__main__":
    compare(load_backbone(CONFIG), (4, 16))
