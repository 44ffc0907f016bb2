"""Two baselines of record pairs without a prompt that holds both: a threshold on names, and a twin's vectors.

    python benchmarks/records.py configs/tasks/geo-records.yaml twin.safetensors
    ensemw2s run configs/tasks/geo-records.yaml --set name=geo-records-twin \
        --set 'weak={model: features:twin.safetensors, n_layers: 12}' \
        --set 'strong={model: features:twin.safetensors, n_layers: 20}'

Prints the accuracy of the threshold on the similarity of the two names that is best on each seed's easy-val. Writes,
for every example of the run, the vectors of both records, each read alone: [a, b, |a - b|, a * b] at the two depths.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor

from ensemw2s.config import ModelConfig, load_config
from ensemw2s.core.intervals import Resamples, mean_interval
from ensemw2s.core.seeds import stream
from ensemw2s.data.splits import make_split
from ensemw2s.data.tasks.geo_records import RAW, GeoRecords
from ensemw2s.models.loading.load import load_backbone
from ensemw2s.models.trunk import pooled_features
from ensemw2s.models.vectors import write_vectors
from ensemw2s.prompting import prompt_ids


def best_threshold(similarity: Tensor, is_match: Tensor) -> float:
    """Between two similarities, where most of these examples are right; the lowest of equals."""
    found = similarity.unique()
    candidates = torch.cat([found[:1] - 1.0, (found[1:] + found[:-1]) / 2, found[-1:] + 1.0])
    right = ((similarity[None] >= candidates[:, None]) == is_match).double().mean(1)
    return float(candidates[int(right.argmax())])


def main(config_path: str, output: str) -> None:
    config = load_config(Path(config_path))
    assert isinstance(config.task, GeoRecords)
    task = config.task.model_copy(update={"prompt": RAW}).load()
    split, known = make_split(task, config.split), {e.id: e for e in task.examples}
    examples = [known[e.id] for e in split.examples]
    is_match = torch.tensor([e.answer == "yes" for e in examples])
    hard = torch.tensor([float(e.difficulty or 0.0) for e in examples])
    similarity = torch.where(is_match, 1.0 - hard, hard)
    vals = [split.draw(seed).easy_val for seed in config.seeds]
    thresholds = [best_threshold(similarity[val], is_match[val]) for val in vals]
    for part in ("id_test", "ood_test"):
        rows = torch.tensor(list(split.pools[part]))
        right = torch.stack([(similarity[rows] >= t) == is_match[rows] for t in thresholds]).double()
        drawn = Resamples.draw(split.groups[rows], len(config.seeds), stream(0, "records"))
        print(f"threshold, {part}: {mean_interval(right, drawn)}")

    backbone = load_backbone(
        ModelConfig(n_layers=max(model.n_layers or 0 for _, model in config.models), pooling="mean")
    )
    depths = sorted({model.n_layers or backbone.n_layers for _, model in config.models})
    pairs = [tuple(line[3:] for line in e.prompt.split("\n")[:2]) for e in examples]
    texts = sorted({text for pair in pairs for text in pair})
    place = {text: row for row, text in enumerate(texts)}
    read = pooled_features(backbone, prompt_ids(backbone.tokenizer, texts), depths, batch_tokens=2048)
    a, b = (torch.tensor([place[pair[side]] for pair in pairs]) for side in (0, 1))
    twins = {}
    for depth, vectors in read.items():
        first, second = vectors[a].float(), vectors[b].float()
        twins[depth] = torch.cat([first, second, (first - second).abs(), first * second], dim=1)
    write_vectors(Path(output), [e.id for e in examples], twins)


if __name__ == "__main__":
    main(*sys.argv[1:])
