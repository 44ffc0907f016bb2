"""The units of work of a run, counted from its configuration and its data."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from ensemw2s.config import EnsembleConfig, ExperimentConfig, TrainConfig

Verb = Literal["read", "train", "score", "write", "ask", "interval"]
"""What takes time: the trunk reads, a module trains, scores given answers or writes its own, the untrained model is
asked, items are resampled."""
Stage = Literal["prepare", "experts", "labels", "students", "evaluate"]
WhichSide = Literal["weak", "strong", "both"]


@dataclass(frozen=True)
class Unit:
    """Some equal pieces of work, of one stage of the run."""

    stage: Stage
    what: str
    verb: Verb
    side: WhichSide
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


def expert_trainings(config: EnsembleConfig) -> int:
    """Distinct experts of one seed, at most: `single`, `independent` and `boosting` share their first one."""
    rounds = sum(1 if method == "single" else config.n_rounds for method in config.methods)
    return rounds - max(0, sum(method != "bagging" for method in config.methods) - 1)


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
