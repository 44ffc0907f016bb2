"""Labels per second: shared trunk, batches by length, against the loop of the research scripts.

That loop asks every expert for every example by itself: tokenise one prompt, run that expert's own whole model on it,
apply its head, then vote. Both sides give the same labels (checked). Real weights: SmolLM2-135M, first 10 layers.

    python benchmarks/labelling.py [--experts 8] [--prompts 48]
"""

import argparse
import copy

import torch

from ensemw2s.config import ModelConfig
from ensemw2s.core.voting import combine
from ensemw2s.data.load import load_task
from ensemw2s.data.tasks.geo_facts import GeoFacts
from ensemw2s.models.adapting.adapters import build_adapter
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.models.trunk import pooled_features
from side_by_side import ratio, shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experts", type=int, default=8)
    parser.add_argument("--prompts", type=int, default=48)
    arguments = parser.parse_args()

    config = ModelConfig(model="smollm2-135m", n_layers=10)
    backbone = load_backbone(config)
    generator = torch.Generator().manual_seed(0)
    heads = [
        build_adapter(config, backbone, 2, dropout=0.0, init_std=0.02, generator=generator).eval()
        for _ in range(arguments.experts)
    ]
    weights = torch.ones(len(heads))
    prompts = [e.prompt for e in load_task(GeoFacts()).examples[:: 10_000 // arguments.prompts][: arguments.prompts]]
    models = [copy.deepcopy(backbone.model) for _ in heads]  # the scripts load one whole model per expert
    tokenizer = backbone.tokenizer

    @torch.no_grad()
    def one_by_one() -> torch.Tensor:
        votes = []
        for prompt in prompts:
            answers = []
            for model, head in zip(models, heads, strict=True):
                ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
                feature = model(input_ids=ids).last_hidden_state[:, -1:]
                answers.append(head(feature, torch.ones(1, 1, dtype=torch.long)).log_softmax(-1))
            votes.append(combine(torch.stack(answers), weights))
        return torch.cat(votes)

    @torch.no_grad()
    def shared_trunk() -> torch.Tensor:
        ids = tokenizer(prompts)["input_ids"]
        features = pooled_features(backbone, ids, [10], batch_tokens=2048)[10].unsqueeze(1)
        mask = torch.ones(len(features), 1, dtype=torch.long)
        return combine(torch.stack([head(features, mask).log_softmax(-1) for head in heads]), weights)

    difference = float((one_by_one() - shared_trunk()).abs().max())
    assert difference < 1e-4, f"the two ways disagree by {difference}"
    same, same_all = ratio(shared_trunk, shared_trunk)
    found, found_all = ratio(one_by_one, shared_trunk)
    print(f"{len(prompts)} prompts, {len(heads)} experts, {torch.get_num_threads()} threads, {backbone.dtype}")
    print(f"largest difference of log-probabilities: {difference:.1e}")
    print(f"A/A ratio {same:.2f} ({shown(same_all)})")
    print(f"labels per second, shared trunk over one by one: {found:.1f} ({shown(found_all)})")


if __name__ == "__main__":
    main()
