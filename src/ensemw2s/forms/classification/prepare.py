"""Both models of a run of classes, loaded and probed, and what they read of every example."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ensemw2s.config import ExperimentConfig, ModelConfig
from ensemw2s.data.splits import Split
from ensemw2s.data.votes import PlacedVotes, placed
from ensemw2s.ensemble.methods import depths_of
from ensemw2s.ensemble.rate import Rating, rate
from ensemw2s.errors import ConfigError
from ensemw2s.examples import Task
from ensemw2s.forms.base import Prepared
from ensemw2s.forms.classification.role import ClassRole, encoded, make_role, opened
from ensemw2s.forms.prepare import check_packings, with_rating
from ensemw2s.models.activations import open_activations, pooled_for_depths
from ensemw2s.models.loading.load import Backbone, load_backbone
from ensemw2s.models.probes.classifier import check_classifier
from ensemw2s.prompting import pooled_by_prompts
from ensemw2s.records import Inputs, class_index
from ensemw2s.storage.store import Store


@dataclass(frozen=True)
class ClassPrepared(Prepared):
    """A validated experiment whose questions are answered by a class."""

    weak: ClassRole
    strong: ClassRole
    votes: PlacedVotes | None = None
    """Of outside voters, on examples that are no test."""

    @property
    def n_classes(self) -> int:
        return len(self.task.choices)

    @property
    def fingerprint(self) -> dict[str, str]:
        """Of everything that an expert may see."""
        return {"inputs": self.split.inputs_fingerprint, "easy_labels": self.split.easy_fingerprint}


class ClassModels:
    """Both models, loaded and probed; one load where they are cuts of the same checkpoint.

    Raises:
        ModelError, ConfigError: a model cannot be used as configured.
    """

    def __init__(self, config: ExperimentConfig, task: Task, store: Store, on_tokens: Callable[[str, int], None]):
        prompts = [example.prompt for example in task.examples]
        weak, strong = (pooled_by_prompts(model, prompts) for model in (config.weak, config.strong))
        self.config, self.store, self.on_tokens = config, store, on_tokens
        self.weak_config, self.strong_config = weak, strong
        self.weak, self.strong = _backbones(weak, strong)
        check_packings(config, self.weak, self.strong)
        self.weak_layers = config.weak.n_layers or self.weak.n_layers
        if message := config.ensemble.beyond(self.weak_layers):
            raise ConfigError(message)
        self.depths = sorted(depths_of(config.ensemble, self.weak_layers, config.seeds))
        check_classifier(weak, self.weak, store, is_exported=False, depths=self.depths)
        check_classifier(strong, self.strong, store, is_exported=True)

    def rated(self, task: Task) -> Task:
        """The task with the difficulty that the weak model finds; the raters' own examples leave it."""
        config, model = self.config, self.weak_config
        ids = encoded(self.weak, task.examples, model)
        cut = self.weak.cut(self.weak_layers)
        inputs = open_activations(
            cut,
            ids,
            config=model,
            cache=config.cache,
            store=self.store,
            on_tokens=lambda n: self.on_tokens(model.model, n),
        )
        role = make_role(model, self.weak, inputs, ids, config.cache, self.store)
        labels = class_index(task.examples, task.choices)

        def rating() -> Rating:
            return rate(
                inputs,
                labels,
                [e.group_id for e in task.examples],
                len(task.choices),
                role.builder(config.training_of_experts, len(task.choices)),
                config.training_of_experts,
                config.difficulty,
                seed=config.split.seed,
            )

        return with_rating(task, rating, {"weak": role.fingerprint}, config, self.store)

    def prepared(self, task: Task, split: Split, people: Mapping[str, str]) -> ClassPrepared:
        """Encode every prompt and cache what the models read. Raises DataError for a prompt that is too long."""
        config, weak, strong = self.config, self.weak_config, self.strong_config
        weak_ids = encoded(self.weak, split.examples, weak)
        strong_ids = weak_ids if self.strong is self.weak else encoded(self.strong, split.examples, strong)
        at_depth: Mapping[int, Inputs] = {}
        if self.weak is self.strong and weak.adapter == strong.adapter == "head":
            # Several depths of one network: one pass through the deepest gives all.
            strong_layers = strong.n_layers or self.strong.n_layers
            depths = list(dict.fromkeys([self.weak_layers, strong_layers, *self.depths]))
            by_depth = self._pooled(self.strong, strong_ids, depths)
            weak_inputs, strong_inputs = by_depth[self.weak_layers], by_depth[strong_layers]
            at_depth = {depth: by_depth[depth] for depth in self.depths}
        else:
            if self.depths:
                by_depth = self._pooled(self.weak.cut(self.weak_layers), weak_ids, [self.weak_layers, *self.depths])
                weak_inputs, at_depth = by_depth[self.weak_layers], {d: by_depth[d] for d in self.depths}
            else:
                weak_inputs = opened(self.weak, weak_ids, weak, config.cache, self.store, self.on_tokens)
            strong_inputs = opened(self.strong, strong_ids, strong, config.cache, self.store, self.on_tokens)
        return ClassPrepared(
            config,
            replace(task, votes=None),
            split,
            make_role(weak, self.weak, weak_inputs, weak_ids, config.cache, self.store, at_depth),
            make_role(strong, self.strong, strong_inputs, strong_ids, config.cache, self.store),
            people,
            None if task.votes is None else placed(task.votes, split),
        )

    def _pooled(self, backbone: Backbone, ids: list[list[int]], depths: list[int]) -> Mapping[int, Inputs]:
        name = self.config.strong.model if backbone is self.strong else self.config.weak.model
        return pooled_for_depths(
            backbone,
            ids,
            depths,
            cache=self.config.cache,
            store=self.store,
            on_tokens=lambda n: self.on_tokens(name, n),
        )


def _backbones(weak: ModelConfig, strong: ModelConfig) -> tuple[Backbone, Backbone]:
    if not shares_checkpoint(weak, strong):
        return load_backbone(weak), load_backbone(strong)
    deeper = max((weak.n_layers, strong.n_layers), key=lambda n: n or 10**9)
    both = load_backbone(strong, deeper)
    return both, both


def shares_checkpoint(weak: ModelConfig, strong: ModelConfig) -> bool:
    """Whether both models are cuts of one checkpoint, read in one way."""
    alike = {"pooling", "model", "revision", "dtype", "max_length", "trust_remote_code_from", "chat"}
    return weak.model_dump(include=alike) == strong.model_dump(include=alike)
