"""The units of work of a run, counted from its configuration and its data."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ensemw2s.config import EnsembleConfig, ExperimentConfig, TrainConfig
from ensemw2s.ensemble.fit import expert_stream
from ensemw2s.ensemble.views import view_of
from ensemw2s.records import View

Verb = Literal["read", "train", "score", "write", "ask", "interval"]
"""What takes time: the trunk reads, a module trains, scores given answers or writes its own, the untrained model is
asked, items are resampled."""
Stage = Literal["prepare", "experts", "labels", "students", "evaluate"]
RoleName = Literal["weak", "strong", "both"]


@dataclass(frozen=True)
class Unit:
    """Some equal pieces of work, of one stage of the run."""

    stage: Stage
    what: str
    verb: Verb
    role: RoleName
    count: int
    """Of all seeds, at most: boosting may stop early, and what an earlier run left in the store is taken from it."""
    amount: int | float
    """Of one, in what its verb is timed by: optimiser steps of a head, else tokens; questions for `ask`, intervals for
    `interval`."""
    tokens: int = 0
    """Read by one, with repetition; by training, scoring and writing together with the prompt."""
    flops: float = 0.0
    """Of one."""
    kept: int = 0
    """Bytes that one leaves in the store."""


def expert_trainings(config: EnsembleConfig, n_layers: int = 1, seed: int = 0) -> int:
    """Distinct experts of one seed, at most: those of one stream and view are one."""
    return len(_distinct(config, n_layers, seed))


def expert_shares(config: EnsembleConfig, n_layers: int, seeds: Sequence[int]) -> Counter[float]:
    """Of all seeds' distinct experts, how many read which share of the feature's dimensions."""
    return Counter(view.feature_share for seed in seeds for _, view in _distinct(config, n_layers, seed))


def _distinct(config: EnsembleConfig, n_layers: int, seed: int) -> set[tuple[int, View]]:
    return {
        (expert_stream(method, seed, position), view_of(method, config, n_layers, seed, position))
        for method in config.methods
        for position in range(1 if method == "single" else config.n_rounds)
    }


def voters(config: EnsembleConfig) -> int:
    """Experts that stand in all of one seed's ensembles together, at most."""
    return sum(1 if method == "single" else config.n_rounds for method in config.methods)


def student_sizes(config: ExperimentConfig, n_easy: int, n_hard: int) -> Counter[int]:
    """How many students of one seed train on how many examples, at most: a selection may leave fewer."""
    pairs = config.students.pairs(config.ensemble.methods)
    return Counter(n_hard + (n_easy if recipe.with_easy else 0) for _, recipe in pairs)


def students_on_the_way(config: ExperimentConfig) -> int:
    """Students of one seed that label models ask."""
    pairs = config.students.pairs(config.ensemble.methods)
    return sum(recipe.make_label_model().n_students for _, recipe in pairs)


def training_amount(adapter: str, training: TrainConfig, n: int, tokens: float) -> float:
    """How a training is timed: a head's steps cost the same whatever they read, other adapters pay by the token."""
    return training.epochs * n / training.batch_size if adapter == "head" else training.epochs * tokens


def training_roles(config: ExperimentConfig) -> tuple[tuple[RoleName, TrainConfig], ...]:
    """The two models, each with how it is trained."""
    return ("weak", config.expert_training), ("strong", config.student_training)
