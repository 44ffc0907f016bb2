"""What the preparation of classes and of generation share."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from ensemw2s.config import ExperimentConfig, ModelConfig, TrainConfig, canonical_hash
from ensemw2s.core.seeds import stream
from ensemw2s.data.splits import Draw, Split
from ensemw2s.ensemble.rate import Rating
from ensemw2s.examples import Task
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.packing import check_packing
from ensemw2s.storage.store import Artifact, Store, artifact_key

RATING_VERSION = 1


def spare_rows(split: Split, draw: Draw) -> Int[Tensor, " spare"]:
    """Rows of the easy pool that are in no other part of the seed."""
    taken = {*draw.easy_train.tolist(), *draw.easy_val.tolist()}
    return torch.tensor([row for row in split.pools["easy_pool"] if row not in taken], dtype=torch.long)


def rated_by_chance(task: Task, config: ExperimentConfig) -> Task:
    """As many examples as a rating leaves, with difficulties that mean nothing."""
    n_aside = 0 if config.difficulty.source == "p_true" else config.difficulty.n_labelled
    drawn = torch.rand(len(task.examples), generator=stream(config.split.seed, "plan")).tolist()
    kept = [replace(e, difficulty=d) for e, d in zip(task.examples, drawn, strict=True)][n_aside:]
    return replace(task, examples=tuple(kept))


def with_rating(
    task: Task, rating: Callable[[], Rating], deciding: Mapping[str, Any], config: ExperimentConfig, store: Store
) -> Task:
    """The task with the difficulties of `rating`, from the store or computed; the raters' own examples leave it.

    Args:
        deciding: what of the models decides the rating.
    """

    def compute() -> Artifact:
        made = rating()
        return Artifact({"difficulty": made.difficulty, "set_aside": made.set_aside}, {})

    facts = [(e.id, e.group_id, e.prompt, e.answer) for e in task.examples]
    key = artifact_key(
        RATING_VERSION,
        {
            "task": canonical_hash(facts),
            "choices": list(task.choices),
            **deciding,
            "training": config.training_of_experts.deciding,
            "difficulty": config.difficulty.model_dump(),
            "seed": config.split.seed,
        },
    )
    rated = store.memo("ratings", key, compute).tensors
    kept = [
        replace(example, difficulty=float(difficulty))
        for example, difficulty, aside in zip(task.examples, rated["difficulty"], rated["set_aside"], strict=True)
        if not aside
    ]
    source = config.difficulty.source
    return replace(
        task,
        examples=tuple(kept),
        difficulty_meaning=f"the weak model's cross-fitted {source}",
        split_uses_labels=source == "p_true",
    )


def check_packing_of(training: TrainConfig, model: ModelConfig, backbone: Backbone) -> None:
    """Raises ModelError where sequences shall be packed and the model's cannot be."""
    if training.packing and model.adapter != "head":
        check_packing(backbone)
