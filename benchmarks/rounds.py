"""What a round, a new seed and a sweep over T cost.

    python benchmarks/rounds.py

1. Round 8 against round 2 of boosting: training and the one evaluation, no matter how many experts came before.
2. A run with another seed over a warm activation store against the first run.
3. Evaluations per expert and example in a sweep over all T.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch

from ensemw2s.config import EnsembleConfig, ExperimentConfig, TrainConfig, load_config
from ensemw2s.ensemble.fit import EnsembleState, Weak, fit_expert, grow
from ensemw2s.ensemble.learners.trunk import TrunkLearner
from ensemw2s.models.adapting.head import Head
from ensemw2s.pipeline.run import run
from side_by_side import ratio, shown

N_TRAIN, N_ALL, DIM = 800, 4800, 576


class Counted:
    """Pooled features that count how often each row is read."""

    def __init__(self, values: torch.Tensor):
        self.values = values
        self.lengths = torch.full((len(values),), 12)
        self.reads = torch.zeros(len(values), dtype=torch.long)

    def batch(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.reads[rows] += 1
        return self.values[rows].unsqueeze(1), torch.ones(len(rows), 1, dtype=torch.long)


def rounds() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(N_ALL, DIM, generator=generator)
    labels = (values[:N_TRAIN, :4].sum(1) + 2 * torch.randn(N_TRAIN, generator=generator) > 0).long()
    inputs = Counted(values)
    training = TrainConfig(
        solver="adamw", epochs=8, patience=None, schedule="cosine", batch_size=64, learning_rate=3e-3
    )
    learner = TrunkLearner(inputs, lambda g: Head(DIM, 2, 0, 0.0, 0.02, g), training)
    groups = [str(i) for i in range(N_TRAIN)]
    weak = Weak((learner,), torch.arange(N_ALL), torch.arange(N_TRAIN), labels, groups, n_classes=2)
    config = EnsembleConfig(n_rounds=10)
    state = EnsembleState.start("boosting", 0, N_TRAIN)
    states = []
    before = inputs.reads.clone()
    while not state.finished:
        states.append(state)
        state = grow(state, fit_expert(weak, state, config), config, 0.5)
    outside = (inputs.reads - before)[N_TRAIN:]
    print(f"experts: {len(state.experts)}; reads of each unlabelled example: {outside.min()} to {outside.max()}")
    found, values_ = ratio(
        lambda: fit_expert(weak, states[7], config), lambda: fit_expert(weak, states[1], config), repeats=9
    )
    print(f"round 8 / round 2: {found:.2f} ({shown(values_)})")


def new_seed(config: ExperimentConfig) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        start = time.perf_counter()
        run(config.model_copy(update={"seeds": (0,)}), root / "first", store_root=root / "store")
        first = time.perf_counter() - start
        shares = []
        for seed in range(1, 6):
            start = time.perf_counter()
            run(config.model_copy(update={"seeds": (seed,)}), root / f"seed{seed}", store_root=root / "store")
            shares.append((time.perf_counter() - start) / first)
    shares.sort()
    print(f"first run {first:.0f} s; another seed over the warm store: {shares[2]:.2f} of it ({shown(shares)})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, help="also time a new seed of this experiment (the default: geo-facts)")
    arguments = parser.parse_args()
    rounds()
    new_seed(load_config(arguments.config))
