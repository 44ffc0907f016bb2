"""What weights per token and packing do to the speed of training.

    python benchmarks/training.py

LoRA of rank 8 on all linear layers of SmolLM2's first 4, float32 where the machine has no bfloat16.
1. Tokens per second of training with a weight for every answer token, against the library's Trainer without weights:
   the same rows, order, padding and steps; 64 to 128 tokens a row, the last quarter of them the answer.
2. Tokens per second (padding not counted) of weighted training, packed against padded: both in shuffled batches of 16,
   lengths drawn log-uniformly from 16 to 512.
3. Forward and backward of four seeds' adapters one after another, against all in one pass over the base: what training
   them together could save at most.
"""

import math
import tempfile
from collections.abc import Callable

import torch
from peft import LoraConfig, get_peft_model
from torch.utils.data import SequentialSampler
from transformers import LlamaForCausalLM, Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from ensemw2s.config import ModelConfig, TrainConfig
from ensemw2s.core.seeds import stream
from ensemw2s.models.adapting.stacked import StackedUpper
from ensemw2s.models.inputs import EmbeddedInputs
from ensemw2s.models.language import AnswerModel
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.records import AnswerTokens
from ensemw2s.train.answers import AnswerSupervision, train_answers
from side_by_side import ratio, shown, steady

BATCH, RATE = 16, 1e-4
CONFIG = ModelConfig(n_layers=4, adapter="lora", lora_rank=8, lora_alpha=16)


def rows(n: int, shortest: int, longest: int) -> AnswerTokens:
    """Random tokens, of lengths drawn log-uniformly, in shuffled order."""
    draw = stream(0, "rows", longest)
    spread = torch.rand(n, generator=draw) * math.log(longest / shortest)
    lengths = [round(shortest * math.exp(s)) for s in spread.tolist()]
    ids = tuple(tuple(torch.randint(1000, 2000, (length,), generator=draw).tolist()) for length in lengths)
    return AnswerTokens(ids, tuple(length - length // 4 for length in lengths))


def ours(backbone: Backbone, answers: AnswerTokens, *, packing: bool = False) -> Callable[[], None]:
    inputs = EmbeddedInputs(backbone, answers.read)
    weights = torch.rand(len(answers.targets), generator=stream(0, "weights")) * 2
    lesson = AnswerSupervision(answers, torch.arange(len(answers.ids)), weights)
    config = TrainConfig(
        solver="adamw",
        epochs=1,
        patience=None,
        schedule="cosine",
        batch_size=BATCH,
        learning_rate=RATE,
        packing=packing,
    )
    module = AnswerModel(backbone, backbone.unembedding, CONFIG, generator=stream(0, "init"))
    return lambda: train_answers(module, inputs, lesson, config, seed=0)


class InOrder(Trainer):
    """The rows as they come: their padding is then that of the other side."""

    def _get_train_sampler(self, train_dataset=None):
        return SequentialSampler(self.train_dataset)


def librarys(backbone: Backbone, answers: AnswerTokens) -> Callable[[], None]:
    order = torch.randperm(len(answers.ids), generator=stream(0, "order", 0)).tolist()
    examples = [{"ids": answers.ids[i], "prompt": answers.prompt_lengths[i]} for i in order]
    model = LlamaForCausalLM(backbone.model.config)
    model.model.load_state_dict(backbone.model.state_dict())
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))

    def collate(batch: list[dict]) -> dict[str, torch.Tensor]:
        width = max(len(row["ids"]) for row in batch)
        ids = torch.zeros(len(batch), width, dtype=torch.long)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
        for i, row in enumerate(batch):
            n = len(row["ids"])
            ids[i, :n], mask[i, :n] = torch.tensor(row["ids"]), 1
            labels[i, row["prompt"] : n] = ids[i, row["prompt"] : n]
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=BATCH,
        num_train_epochs=1,
        learning_rate=RATE,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
    )

    trainer = InOrder(model=model, args=arguments, train_dataset=examples, data_collator=collate)  # pyright: ignore
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    return lambda: trainer.train()


def seeds_apart_and_together(backbone: Backbone, n_seeds: int = 4) -> tuple[Callable[[], None], Callable[[], None]]:
    """Forward and backward of a batch of 16 rows of 32 tokens for each seed."""
    draw = stream(0, "values")
    values = torch.randn(BATCH, 32, backbone.hidden_size, generator=draw).to(backbone.device)
    mask = torch.ones(BATCH, 32, dtype=torch.long, device=backbone.device)

    def model(seed: int) -> AnswerModel:
        one = AnswerModel(backbone, backbone.unembedding, CONFIG, generator=stream(seed, "init"))
        return one.eval().to(backbone.dtype)  # a stack multiplies in one dtype

    models = [model(seed) for seed in range(n_seeds)]
    stack = StackedUpper([model(seed).upper for seed in range(n_seeds)])
    for part in stack.linears():
        part.down.requires_grad_()
        part.up.requires_grad_()

    def apart() -> None:
        for each in models:
            each.hidden(values, mask).float().square().mean().backward()

    return apart, lambda: stack.hidden(values, mask).float().square().mean().backward()


def compare(backbone: Backbone) -> None:
    """Print the table of one base."""
    print(f"{backbone.dtype}, {torch.get_num_threads()} threads")
    answers = rows(2 * BATCH, 64, 128)
    weighted = ours(backbone, answers)
    print(f"weighted training against itself: {steady(weighted):.2f}")
    found, values = ratio(librarys(backbone, answers), weighted)
    print(f"tokens/s, weighted / the library's Trainer without weights: {found:.2f} ({shown(values)})", flush=True)
    answers = rows(2 * BATCH, 16, 512)
    packed = ours(backbone, answers, packing=True)
    print(f"packed training against itself: {steady(packed):.2f}")
    found, values = ratio(ours(backbone, answers), packed)
    print(f"tokens/s, packed / padded: {found:.2f} ({shown(values)})", flush=True)
    apart, together = seeds_apart_and_together(backbone)
    print(f"four seeds together against themselves: {steady(together):.2f}")
    found, values = ratio(apart, together)
    print(f"four seeds' adapters, one after another / together: {found:.2f} ({shown(values)})", flush=True)


if __name__ == "__main__":
    compare(load_backbone(CONFIG))
