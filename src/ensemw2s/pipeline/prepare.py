"""Everything that must be right before work starts: the task, its split, both models, and what they read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ensemw2s.config import ExperimentConfig, canonical_hash
from ensemw2s.core.seeds import stream
from ensemw2s.data.load import load_task
from ensemw2s.data.people import read_people
from ensemw2s.data.splits import Split, make_split
from ensemw2s.ensemble.rate import Rating, learners, rate
from ensemw2s.ensemble.views import depths_of
from ensemw2s.errors import ConfigError
from ensemw2s.examples import Task
from ensemw2s.forms.classification.side import Side, encoded, make_side, opened
from ensemw2s.models.activations import open_activations, pooled_for_depths
from ensemw2s.models.loading.load import Backbone, load_backbone
from ensemw2s.models.packing import check_packing
from ensemw2s.models.probes.classifier import check_classifier
from ensemw2s.records import Inputs, class_index
from ensemw2s.storage.store import Artifact, Store, artifact_key

RATING_VERSION = 1


@dataclass(frozen=True)
class Prepared:
    """A validated experiment, ready to train."""

    config: ExperimentConfig
    task: Task
    split: Split
    weak: Side
    strong: Side
    people: Mapping[str, str] = field(default_factory=dict)
    """id to the answer that a person gave."""

    @property
    def n_classes(self) -> int:
        return len(self.task.choices)

    @property
    def fingerprint(self) -> dict[str, str]:
        """Of everything that an expert may see."""
        return {"inputs": self.split.inputs_fingerprint, "easy_labels": self.split.easy_fingerprint}


def check(config: ExperimentConfig) -> tuple[Task, Split | None]:
    """Read and validate the task, and the split where its difficulty does not need the weak model. No model is loaded.

    Raises:
        DataError: as the loaders and the split say; `students.people` cannot be used.
    """
    task = load_task(config.task)
    people_of(config, task)
    if config.difficulty.source == "column":
        return task, make_split(task, config.split)
    learners([e.group_id for e in task.examples], config.difficulty, config.split.seed)
    return task, None


def people_of(config: ExperimentConfig, task: Task) -> dict[str, str]:
    """The answers of `students.people`, valid for the task. Raises DataError."""
    return {} if config.students.people is None else read_people(config.students.people, task)


def prepare(
    config: ExperimentConfig, store: Store, on_tokens: Callable[[str, int], None], *, is_plan: bool = False
) -> Prepared:
    """Load, rate, split, encode and cache activations.

    Args:
        is_plan: what the weak model shall rate is given difficulties by chance, because rating is work.

    Raises:
        DataError, ModelError, ConfigError: each before any training has begun.
    """
    task, split = check(config)
    people = people_of(config, task)
    weak_backbone, strong_backbone = _backbones(config)
    check_packings(config, weak_backbone, strong_backbone)
    if message := config.ensemble.beyond(config.weak.n_layers or weak_backbone.n_layers):
        raise ConfigError(message)
    weak_layers = config.weak.n_layers or weak_backbone.n_layers
    extra = sorted(depths_of(config.ensemble, weak_layers, config.seeds))
    check_classifier(config.weak, weak_backbone, store, is_exported=False, depths=extra)
    check_classifier(config.strong, strong_backbone, store, is_exported=True)
    if split is None and is_plan:
        task = rated_by_chance(task, config)
        split = make_split(task, config.split)
    elif split is None:
        task = _rated(task, config, weak_backbone, store, lambda n: on_tokens(config.weak.model, n))
        split = make_split(task, config.split)
    ids = {
        id(b): encoded(b, split.examples, config.weak if b is weak_backbone else config.strong)
        for b in (weak_backbone, strong_backbone)
    }
    weak_ids, strong_ids = ids[id(weak_backbone)], ids[id(strong_backbone)]
    at_depth: Mapping[int, Inputs] = {}
    if weak_backbone is strong_backbone and config.weak.adapter == config.strong.adapter == "head":
        # Several depths of one network: one pass through the deepest gives all.
        strong_layers = config.strong.n_layers or strong_backbone.n_layers
        depths = list(dict.fromkeys([weak_layers, strong_layers, *extra]))
        found = pooled_for_depths(
            strong_backbone,
            strong_ids,
            depths,
            cache=config.cache,
            store=store,
            on_tokens=lambda n: on_tokens(config.strong.model, n),
        )
        weak_inputs, strong_inputs = found[weak_layers], found[strong_layers]
        at_depth = {depth: found[depth] for depth in extra}
    else:
        if extra:
            found = pooled_for_depths(
                weak_backbone.cut(weak_layers),
                weak_ids,
                [weak_layers, *extra],
                cache=config.cache,
                store=store,
                on_tokens=lambda n: on_tokens(config.weak.model, n),
            )
            weak_inputs, at_depth = found[weak_layers], {depth: found[depth] for depth in extra}
        else:
            weak_inputs = opened(weak_backbone, weak_ids, config.weak, config, store, on_tokens)
        strong_inputs = opened(strong_backbone, strong_ids, config.strong, config, store, on_tokens)
    return Prepared(
        config,
        task,
        split,
        replace(make_side(config.weak, weak_backbone, weak_inputs, weak_ids, config, store), at_depth=at_depth),
        make_side(config.strong, strong_backbone, strong_inputs, strong_ids, config, store),
        people,
    )


def rated_by_chance(task: Task, config: ExperimentConfig) -> Task:
    """As many examples as a rating leaves, with difficulties that mean nothing."""
    n_aside = 0 if config.difficulty.source == "p_true" else config.difficulty.n_labelled
    drawn = torch.rand(len(task.examples), generator=stream(config.split.seed, "plan")).tolist()
    kept = [replace(e, difficulty=d) for e, d in zip(task.examples, drawn, strict=True)][n_aside:]
    return replace(task, examples=tuple(kept))


def _backbones(config: ExperimentConfig) -> tuple[Backbone, Backbone]:
    """Both models; one load where they are cuts of the same checkpoint."""
    weak, strong = config.weak, config.strong
    alike = {"model", "revision", "dtype", "max_length", "trust_remote_code_from", "chat"}
    if weak.model_dump(include=alike) != strong.model_dump(include=alike):
        return load_backbone(weak), load_backbone(strong)
    deeper = max((weak.n_layers, strong.n_layers), key=lambda n: n or 10**9)
    both = load_backbone(strong, deeper)
    return both, both


def check_packings(config: ExperimentConfig, weak: Backbone, strong: Backbone) -> None:
    """Raises ModelError where sequences shall be packed and the model's cannot be."""
    for model, backbone, training in (
        (config.weak, weak, config.expert_training),
        (config.strong, strong, config.student_training),
    ):
        if training.packing and model.adapter != "head":
            check_packing(backbone)


def _rated(
    task: Task, config: ExperimentConfig, backbone: Backbone, store: Store, on_tokens: Callable[[int], None]
) -> Task:
    """The task with the difficulty that the weak model finds; the raters' own examples leave it."""
    ids = encoded(backbone, task.examples, config.weak)
    cut = backbone.cut(config.weak.n_layers or backbone.n_layers)
    inputs = open_activations(cut, ids, config=config.weak, cache=config.cache, store=store, on_tokens=on_tokens)
    side = make_side(config.weak, backbone, inputs, ids, config, store)
    labels = class_index(task.examples, task.choices)

    def rating() -> Rating:
        return rate(
            inputs,
            labels,
            [e.group_id for e in task.examples],
            len(task.choices),
            side.builder(config.expert_training, len(task.choices)),
            config.expert_training,
            config.difficulty,
            seed=config.split.seed,
        )

    return with_rating(task, rating, {"weak": side.fingerprint}, config, store)


def with_rating(
    task: Task, rating: Callable[[], Rating], deciding: Mapping[str, Any], config: ExperimentConfig, store: Store
) -> Task:
    """The task with the difficulties of `rating`, from the store or computed; the raters' own examples leave it.

    Args:
        deciding: what of the models decides the rating.
    """

    def compute() -> Artifact:
        found = rating()
        return Artifact({"difficulty": found.difficulty, "set_aside": found.set_aside}, {})

    facts = [(e.id, e.group_id, e.prompt, e.answer) for e in task.examples]
    key = artifact_key(
        RATING_VERSION,
        {
            "task": canonical_hash(facts),
            "choices": list(task.choices),
            **deciding,
            "training": config.expert_training.deciding,
            "difficulty": config.difficulty.model_dump(),
            "seed": config.split.seed,
        },
    )
    found = store.memo("ratings", key, compute).tensors
    kept = [
        replace(example, difficulty=float(d))
        for example, d, aside in zip(task.examples, found["difficulty"], found["set_aside"], strict=True)
        if not aside
    ]
    source = config.difficulty.source
    return replace(
        task,
        examples=tuple(kept),
        difficulty_meaning=f"the weak model's cross-fitted {source}",
        split_uses_labels=source == "p_true",
    )
