"""Student losses on planted truth: what each does with independent, correlated and systematic errors of its teachers.

    python benchmarks/planted.py [--seeds 12] [--only evidential]

Truth is a half-space of 16 features. Each of five members scores an example by its distance from the plane plus an
error; its label is the members' mean probability. The error is drawn for each member (independent), shared by nine
tenths between them (correlated), or a direction of the features, the same for all (systematic: a student can learn
it). Students are linear and see all features. Tested on fresh examples; intervals are Student-t over seeds.

Three more plants are for planted_labels.py: `uneven`, independent errors from very small to very large; `twins`, three
of the five members are one bad member and the two others are good and independent; `biased`, each member calls an
example of class 1 wrongly far more often than one of class 0, and the more so the further it lies along a direction of
the member's own.
"""

import argparse
import math
from typing import NamedTuple

import torch

from ensemw2s.config import TrainConfig
from ensemw2s.core.intervals import Estimate, seed_interval
from ensemw2s.core.losses import WeakBatch, WeakToStrongLoss
from ensemw2s.core.losses.evidential import Evidential
from ensemw2s.core.losses.weights import Adaptive
from ensemw2s.core.seeds import stream
from ensemw2s.models.adapting.head import Head
from ensemw2s.tables import LOSSES
from ensemw2s.train.loop import predict, train
from ensemw2s.train.samples import Supervision
from ensemw2s.train.supervision import difficulty_bins

DIM, N, N_MEMBERS = 16, 1500, 5
CONFIG = TrainConfig(solver="adamw", epochs=12, patience=None, schedule="cosine", batch_size=64, learning_rate=0.02)
PLANTS = {"independent": 2.5, "correlated": 1.5, "systematic": 1.2}
"""Kind of error to its standard deviation, in distances from the plane."""
UNEVEN = (0.4, 1.5, 3.0, 4.0, 5.0)
TWINS = (4.0, 4.0, 4.0, 0.8, 0.8)
"""Of each member: the first three make the same error."""
BIAS = 1.5
"""How far the plane is moved against class 1, in distances, where an example lies at 0 of the member's direction."""
PLANTED_LABELS = (*PLANTS, "uneven", "twins", "biased")
"""Kinds of errors of planted_labels.py."""


class Features:
    def __init__(self, values: torch.Tensor):
        self.values, self.lengths = values, torch.ones(len(values), dtype=torch.long)

    def batch(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.values[rows].unsqueeze(1), torch.ones(len(rows), 1, dtype=torch.long)


class Plant(NamedTuple):
    """2 N examples; the first N have weak labels."""

    inputs: Features
    truth: torch.Tensor
    member: torch.Tensor
    """Of the first N: [members, N, 2]."""
    difficulty: torch.Tensor
    """Of all; largest next to the plane."""

    @property
    def soft(self) -> torch.Tensor:
        return self.member.mean(0)


def planted(seed: int, kind: str) -> Plant:
    """One draw of features, truth and members."""
    generator = stream(seed, "planted", kind)
    x = torch.randn(2 * N, DIM, generator=generator)
    axes = torch.linalg.qr(torch.randn(DIM, DIM, generator=generator)).Q
    distance = x @ axes[0]
    error = _errors(kind, x, axes, distance, generator)
    weak = (2.0 * (distance + error)).sigmoid()[:, :N]
    return Plant(Features(x), (distance > 0).long(), torch.stack([1.0 - weak, weak], dim=-1), -distance.abs())


def _errors(
    kind: str, x: torch.Tensor, axes: torch.Tensor, distance: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """What each member adds to an example's distance from the plane: [members, 2 N]."""
    own = torch.randn(N_MEMBERS, 2 * N, generator=generator)
    if kind == "systematic":
        return PLANTS[kind] * (x @ axes[1]).expand(N_MEMBERS, -1)
    if kind == "correlated":
        shared = torch.randn(2 * N, generator=generator)
        return PLANTS[kind] * (math.sqrt(0.9) * shared + math.sqrt(0.1) * own)
    if kind == "uneven":
        return torch.tensor(UNEVEN)[:, None] * own
    if kind == "twins":
        own[:3] = own[0]
        return torch.tensor(TWINS)[:, None] * own
    if kind == "biased":
        bias = BIAS * (1.0 + (axes[1 : 1 + N_MEMBERS] @ x.T).tanh())  # [members, 2 N], from 0 to twice BIAS
        return own - torch.where(distance > 0, bias, 0.0)
    return PLANTS[kind] * own


def student(plant: Plant, labels: WeakBatch, rows: torch.Tensor, loss: WeakToStrongLoss, seed: int) -> torch.Tensor:
    """Log-probabilities of all 2 N examples by a linear student of these labels."""
    module = Head(DIM, 2, hidden=0, dropout=0.0, init_std=0.02, generator=stream(seed, "init"))
    train(module, plant.inputs, Supervision(rows, labels, torch.ones(len(rows))), loss, CONFIG, seed=seed)
    return predict(module, plant.inputs, torch.arange(2 * N), link=loss.link)


def percent_right(found: torch.Tensor, truth: torch.Tensor) -> float:
    return 100 * float((found.argmax(-1) == truth).double().mean())


def accuracy(loss: WeakToStrongLoss, seed: int, kind: str) -> float:
    """Of a student on the fresh half, in %."""
    plant = planted(seed, kind)
    group = difficulty_bins(plant.difficulty[:N]) if loss.needs_groups else None
    member = plant.member if loss.needs_members else None
    labels = WeakBatch(soft=plant.soft, member=member, group=group)
    found = student(plant, labels, torch.arange(N), loss, seed)
    return percent_right(found[N:], plant.truth[N:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--only", default="", help="Losses whose name begins so, beside xent.")
    given = parser.parse_args()
    seeds = range(given.seeds)
    losses: dict[str, WeakToStrongLoss] = {name: kind() for name, kind in LOSSES.items()}
    losses["adaptive, reversed"] = Adaptive(sign="reversed")
    losses["evidential, gamma 0"] = Evidential(gamma=0.0)
    losses["evidential, relu"] = Evidential(evidence="relu")
    losses["evidential, relu, gamma 0"] = Evidential(evidence="relu", gamma=0.0)
    losses["evidential, joint"] = Evidential(form="joint")
    losses["evidential, naive"] = Evidential(form="naive")
    losses = {name: loss for name, loss in losses.items() if name == "xent" or name.startswith(given.only)}
    plain: dict[str, torch.Tensor] = {}
    print("| loss | " + " | ".join(PLANTS) + " |\n|" + "---|" * (len(PLANTS) + 1))
    teacher = []
    for kind in PLANTS:
        right = [percent_right(p.soft, p.truth[:N]) for p in (planted(s, kind) for s in seeds)]
        teacher.append(f"{sum(right) / len(right):.1f}")
    print(f"| (the weak labels) | {' | '.join(teacher)} |")
    for name, loss in losses.items():
        cells = []
        for kind in PLANTS:
            found = torch.tensor([accuracy(loss, seed, kind) for seed in seeds], dtype=torch.float64)
            if name == "xent":
                plain[kind] = found
                cells.append(shown(seed_interval(found), ""))
            else:
                cells.append(shown(seed_interval(found - plain[kind]), "+"))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print("\nxent: accuracy in %; the others: points above xent, paired by seed.")


def shown(found: Estimate, sign: str) -> str:
    return f"{found.mean:{sign}.1f} [{found.low:{sign}.1f}, {found.high:{sign}.1f}]"


if __name__ == "__main__":
    main()
