"""Student losses on planted truth: what each does with independent, correlated and systematic errors of its teachers.

    python benchmarks/planted.py [--seeds 12]

Truth is a half-space of 16 features. Each of five members scores an example by its distance from the plane plus an
error; its label is the members' mean probability. The error is drawn for each member (independent), shared by nine
tenths between them (correlated), or a direction of the features, the same for all (systematic: a student can learn
it). Students are linear and see all features. Tested on fresh examples; intervals are Student-t over seeds.
"""

import argparse
import math

import torch

from ensemw2s.config import TrainConfig
from ensemw2s.core.intervals import Estimate, seed_interval
from ensemw2s.core.losses import LOSSES, WeakBatch, WeakToStrongLoss
from ensemw2s.core.losses.weights import Adaptive
from ensemw2s.core.seeds import stream
from ensemw2s.experiment.students import difficulty_bins
from ensemw2s.models.head import Head
from ensemw2s.train.loop import Supervision, predict, train

DIM, N, N_MEMBERS = 16, 1500, 5
CONFIG = TrainConfig(epochs=12, batch_size=64, learning_rate=0.02)
PLANTS = {"independent": 2.5, "correlated": 1.5, "systematic": 1.2}
"""Kind of error to its standard deviation, in distances from the plane."""


class Features:
    def __init__(self, values: torch.Tensor):
        self.values, self.lengths = values, torch.ones(len(values), dtype=torch.long)

    def batch(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.values[rows].unsqueeze(1), torch.ones(len(rows), 1, dtype=torch.long)


def planted(seed: int, kind: str) -> tuple[Features, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features of 2 N examples, their classes, the weak probabilities of the first N, and how hard these are."""
    generator = stream(seed, "planted", kind)
    x = torch.randn(2 * N, DIM, generator=generator)
    axes = torch.linalg.qr(torch.randn(DIM, DIM, generator=generator)).Q
    distance = x @ axes[0]
    own = torch.randn(N_MEMBERS, 2 * N, generator=generator)
    shared = x @ axes[1] if kind == "systematic" else torch.randn(2 * N, generator=generator)
    share = {"independent": 0.0, "correlated": 0.9, "systematic": 1.0}[kind]
    error = PLANTS[kind] * (math.sqrt(share) * shared + math.sqrt(1.0 - share) * own)
    weak = (2.0 * (distance + error)).sigmoid().mean(0)[:N]
    return Features(x), (distance > 0).long(), torch.stack([1.0 - weak, weak], dim=1), -distance[:N].abs()


def accuracy(loss: WeakToStrongLoss, seed: int, kind: str) -> float:
    """Of a student on the fresh half, in %."""
    inputs, truth, soft, difficulty = planted(seed, kind)
    group = difficulty_bins(difficulty) if loss.needs_groups else None
    supervision = Supervision(torch.arange(N), WeakBatch(soft=soft, group=group), torch.ones(N))
    module = Head(DIM, 2, hidden=0, dropout=0.0, init_std=0.02, generator=stream(seed, "init"))
    train(module, inputs, supervision, loss, CONFIG, seed=seed)
    found = predict(module, inputs, torch.arange(N, 2 * N))
    return 100 * float((found.argmax(-1) == truth[N:]).double().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=12)
    seeds = range(parser.parse_args().seeds)
    losses: dict[str, WeakToStrongLoss] = {name: kind() for name, kind in LOSSES.items()}
    losses["adaptive, reversed"] = Adaptive(sign="reversed")
    plain: dict[str, torch.Tensor] = {}
    print("| loss | " + " | ".join(PLANTS) + " |\n|" + "---|" * (len(PLANTS) + 1))
    teacher = []
    for kind in PLANTS:
        right = [
            100 * float((soft.argmax(-1) == t[:N]).double().mean())
            for _, t, soft, _ in (planted(s, kind) for s in seeds)
        ]
        teacher.append(f"{sum(right) / len(right):.1f}")
    print(f"| (the weak labels) | {' | '.join(teacher)} |")
    for name, loss in losses.items():
        cells = []
        for kind in PLANTS:
            found = torch.tensor([accuracy(loss, seed, kind) for seed in seeds], dtype=torch.float64)
            if name == "xent":
                plain[kind] = found
                cells.append(_shown(seed_interval(found), ""))
            else:
                cells.append(_shown(seed_interval(found - plain[kind]), "+"))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print("\nxent: accuracy in %; the others: points above xent, paired by seed.")


def _shown(found: Estimate, sign: str) -> str:
    return f"{found.mean:{sign}.1f} [{found.low:{sign}.1f}, {found.high:{sign}.1f}]"


if __name__ == "__main__":
    main()
