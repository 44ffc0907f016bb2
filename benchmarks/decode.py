"""What deciding together at every token costs: T = 8 experts that own the upper 2 of SmolLM2's first 10 layers.

    python benchmarks/decode.py

1. Seconds per token and weights in memory: the ensemble against one expert, and against 8 whole models run one after
   another, at batch 4 and 16, beside what the machine's own speeds (measured here) predict.
2. Pseudo-answers per second against the loop of the research scripts: one example, one model at a time, every token
   from the whole text so far; and against the same loop with a memory of keys and values.
"""

import argparse
from collections.abc import Callable

import torch
from transformers import DynamicCache, LlamaForCausalLM

from ensemw2s.config import DecodingConfig, ModelConfig
from ensemw2s.core.seeds import stream
from ensemw2s.core.voting import combine
from ensemw2s.data.answers import ask
from ensemw2s.ensemble.words.decode import decode
from ensemw2s.ensemble.words.members import Members, SharedTrunk
from ensemw2s.ensemble.words.separate import SeparateModels
from ensemw2s.models.language import AnswerModel
from ensemw2s.models.loading.anatomy import memory_of
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.loading.load import load_backbone
from side_by_side import ratio, seconds, shown, steady

T, PROMPT, STEPS = 8, 4, 16
CONFIG = ModelConfig(n_layers=10, adapter="top", top_layers=2)


def experts(backbone: Backbone, n: int) -> list[AnswerModel]:
    return [
        AnswerModel(backbone, backbone.unembedding, CONFIG, init_noise=0.05, generator=stream(i, "expert")).eval()
        for i in range(n)
    ]


def whole_models(backbone: Backbone, n: int) -> list[LlamaForCausalLM]:
    """As many models with weights of their own, of the same shape."""
    models = []
    for _ in range(n):
        model = LlamaForCausalLM(backbone.model.config).to(backbone.device, backbone.dtype).eval()
        model.model.load_state_dict(backbone.model.state_dict())
        models.append(model.requires_grad_(False))
    return models


def tokens(members: Members, batch: int, steps: int = STEPS) -> Callable[[], None]:
    """Tokens one by one, after a short prompt whose reading is on the clock too."""
    weights = torch.ones(members.n_members)
    ids = torch.randint(1000, 2000, (batch, PROMPT), generator=stream(0, "ids"))

    def work() -> None:
        reading = members.start()
        token = ids
        for _ in range(1 + steps):
            states = members.read(token, torch.ones_like(token), reading)[:, :, -1]
            log_probs = members.logits(states).log_softmax(-1)
            token = combine(log_probs, weights, dtype=torch.float32).argmax(-1, keepdim=True).cpu()

    return work


def one_after_another(
    models: list[LlamaForCausalLM], backbone: Backbone, batch: int, steps: int = STEPS
) -> Callable[[], None]:
    works = [tokens(SeparateModels([model], [backbone.tokenizer]), batch, steps) for model in models]

    def work() -> None:
        for each in works:
            each()

    return work


def speeds(backbone: Backbone) -> tuple[float, float]:
    """Multiply-adds per second of a large product, and bytes per second of a product with one row."""

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=backbone.dtype, device=backbone.device)

    a, b, head, row = random(512, 2048), random(2048, 4096), random(49152, 576), random(1, 576)

    def best(work: Callable[[], object]) -> float:
        return min(seconds(work) for _ in range(7))

    return a.shape[0] * b.numel() / best(lambda: a @ b), head.nbytes / best(lambda: row @ head.T)


def predicted(backbone: Backbone, n: int, batch: int, compute: float, memory: float) -> float:
    """Seconds per token: each weight is read once and multiplied with its rows, whichever takes longer."""
    layer = sum(p.numel() for p in backbone.model.layers[0].parameters())
    head = backbone.unembedding.n_weights
    parts = [(8 * layer, batch), *[(2 * layer, batch)] * n, (head, n * batch)]
    size = backbone.dtype.itemsize
    return sum(max(weights * size / memory, weights * rows / compute) for weights, rows in parts)


def script_loop(models: list[LlamaForCausalLM], prompts: list[list[int]], end: int, new: int, cached: bool) -> None:
    for prompt in prompts:
        ids = list(prompt)
        caches = [DynamicCache() for _ in models]
        for step in range(new):
            mixed = torch.zeros(models[0].config.vocab_size)
            for model, cache in zip(models, caches, strict=True):
                text = torch.tensor([ids[-1:] if cached and step else ids])
                with torch.no_grad():
                    out = model(text, past_key_values=cache if cached else None, use_cache=cached)
                mixed += out.logits[0, -1].float().softmax(-1) / len(models)
            token = int(mixed.argmax())
            if token == end:
                break
            ids.append(token)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--slow-prompts", type=int, default=4, help="of the research scripts' loop")
    arguments = parser.parse_args()
    backbone = load_backbone(CONFIG)
    own, whole = experts(backbone, T), whole_models(backbone, T)
    compute, memory = speeds(backbone)
    machine = f"{compute / 1e9:.0f} G multiply-adds/s, {memory / 1e9:.1f} GB/s"
    print(f"{backbone.dtype}, {torch.get_num_threads()} threads: {machine}")
    together = SharedTrunk(backbone, own)
    single = together.alone(0)
    # The backbone stays for the whole models of this comparison; an ensemble alone keeps its trunk only.
    share = together.n_bytes / memory_of(backbone.model.parameters())
    print(f"weights in memory: {share:.2f} times one model")
    for batch in (4, 16):
        print(f"batch {batch}: the same against itself: {steady(tokens(together, batch)):.2f}")
        found, values = ratio(tokens(together, batch), tokens(single, batch), repeats=5)
        roof = predicted(backbone, T, batch, compute, memory) / predicted(backbone, 1, batch, compute, memory)
        print(f"batch {batch}: {T} experts / one expert: {found:.2f} ({shown(values)}); roofline {roof:.2f}")
        found, values = ratio(one_after_another(whole, backbone, batch), tokens(together, batch), repeats=5)
        print(f"batch {batch}: {T} whole models one after another / ensemble: {found:.2f} ({shown(values)})")
    texts = [ask(f"In which country is the city of number {i}?") for i in range(arguments.prompts)]
    prompts = backbone.tokenizer(texts)["input_ids"]
    end, new = backbone.tokenizer.eos_token_id, 8
    config = DecodingConfig(max_new_tokens=new, stop=())

    def ours() -> None:
        decode(together, torch.ones(T), backbone.tokenizer, prompts, config)

    for cached in (False, True):
        few = prompts[: arguments.slow_prompts]
        found, values = ratio(lambda f=few, c=cached: script_loop(whole, f, end, new, c), ours, repeats=5)
        factor = len(prompts) / len(few)
        name = "with keys and values kept" if cached else "the research scripts' way"
        print(f"answers per second / loop {name}: {found * factor:.1f} ({shown([v * factor for v in values])})")


if __name__ == "__main__":
    main()
