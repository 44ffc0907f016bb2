"""All models of a run of classes, loaded and probed, and what they read of every example."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from ensemw2s.config import ExperimentConfig, ModelConfig
from ensemw2s.data.encode import unreadable
from ensemw2s.data.splits import Split
from ensemw2s.data.votes import PlacedVotes, placed
from ensemw2s.ensemble.contexts import BLANK, WRITTEN
from ensemw2s.ensemble.learners.tfidf import Words
from ensemw2s.ensemble.methods import depths_of, n_contexts
from ensemw2s.ensemble.rate import Rating, rate
from ensemw2s.errors import ConfigError, DataError
from ensemw2s.examples import Task
from ensemw2s.forms.classification.role import ClassRole, encoded
from ensemw2s.forms.classification.shared import Reading, SharedModels, load_shared
from ensemw2s.forms.classification.tfidf import TfidfRole
from ensemw2s.forms.classification.weak.contexts import SeedContexts
from ensemw2s.forms.classification.weak.writing import Writer
from ensemw2s.forms.kinds import reads_text
from ensemw2s.forms.prepare import with_rating
from ensemw2s.forms.prepared import Prepared, SeedContext
from ensemw2s.models.language import vocabulary_head
from ensemw2s.models.likelihood import choice_likelihood
from ensemw2s.models.loading.backbone import Backbone
from ensemw2s.models.loading.load import n_layers_of
from ensemw2s.models.pooled import of_text
from ensemw2s.prompting import answer_text, pooled_by_prompts, prompt_ids
from ensemw2s.records import class_index
from ensemw2s.storage.store import Store
from ensemw2s.tables import METHODS


@dataclass(frozen=True)
class ClassPrepared(Prepared):
    """A validated experiment whose questions are answered by a class."""

    pool: tuple[ClassRole | TfidfRole, ...]
    strong: ClassRole
    votes: PlacedVotes | None = None
    """Of outside voters, on examples that are no test."""
    contexts: Mapping[int, SeedContexts] = field(default_factory=dict[int, SeedContexts])
    """What members read before each question, by seed; empty where none does."""

    @property
    def roles(self) -> Mapping[str, ClassRole]:
        return {name: role for name, role in super().roles.items() if isinstance(role, ClassRole)}

    def words(self, seed: SeedContext) -> Words:
        """Every prompt as TF-IDF, weighed without a look at the tests."""
        draw = seed.draw
        return Words([e.prompt for e in self.split.examples], torch.cat([draw.easy_train, draw.hard_unlabelled]))

    @property
    def n_classes(self) -> int:
        return len(self.task.choices)

    @property
    def fingerprint(self) -> dict[str, str]:
        """Of everything that an expert may see."""
        return {"inputs": self.split.inputs_fingerprint, "easy_labels": self.split.easy_fingerprint}


class ClassModels:
    """All models, loaded and probed; one load for those that are cuts of the same checkpoint.

    Raises:
        ModelError, ConfigError: a model cannot be used as configured.
    """

    def __init__(self, config: ExperimentConfig, task: Task, store: Store, on_tokens: Callable[[str, int], None]):
        prompts = [example.prompt for example in task.examples]
        self.config, self.store, self.reading = config, store, Reading(config.cache, store, on_tokens)
        self.pool = [_settled(model, prompts) for model in config.pool]
        self.strong = _settled(config.strong, prompts)
        self.shared = load_shared([*(model for model in self.pool if not model.is_tfidf), self.strong])
        self.depths: list[int] = []
        if not (first := self.pool[0]).is_tfidf:
            n_layers = self._layers(first)
            if len(self.pool) == 1 and (message := config.ensemble.beyond(n_layers)):
                raise ConfigError(message)
            self.depths = sorted(depths_of(config.ensemble, n_layers, config.seeds))
        for model in (model for model in self.pool if not model.is_tfidf):
            training, depths = config.expert_training, self.depths
            self._of(model).check(model, training, store, is_exported=False, depths=depths)
        self._check_untrained(task)
        self._of(self.strong).check(self.strong, config.student_training, store, is_exported=True)

    def _check_untrained(self, task: Task) -> None:
        """Whether what is asked, or writes, before any training can: whole models with a vocabulary head."""
        ensemble, (weak, *_) = self.config.ensemble, self.pool
        untrained: list[tuple[str, ModelConfig, str]] = []
        if methods := [name for name in ensemble.methods if not METHODS[name].learns]:
            untrained.append(("weak", weak, f"take {methods[0]} out of ensemble.methods"))
        if self.config.students.in_context:
            untrained.append(("strong", self.strong, "leave students.in_context out"))
        scored = [model for _, model, _ in untrained]
        if n_contexts(ensemble) and (context := ensemble.context).kind in WRITTEN:
            writer = self.strong if context.written_by == "strong" else weak
            untrained.append((context.written_by, writer, f"choose another ensemble.context.kind than {context.kind}"))
        for name, model, mend in untrained:
            used, has = n_layers_of(model)
            if used < has:
                raise ConfigError(
                    f"{name}.n_layers ({used}): the pretrained model is asked for its next token, which the first "
                    f"{used} of its {has} layers do not say; leave {name}.n_layers out (null), or {mend}"
                )
            if model.chat:
                raise ConfigError(
                    f"{name}.chat: before any training the model goes on from plain text, without turns; set "
                    f"{name}.chat: false, or {mend}"
                )
            vocabulary_head(self._backbone(model))
        for model in scored:
            choice_likelihood(self._backbone(model), model.model, task.choices, reads_shared=True)

    def _of(self, model: ModelConfig) -> SharedModels:
        """The model's checkpoint, with at least its layers."""
        return next(each for each in self.shared if model in each.models)

    def _backbone(self, model: ModelConfig) -> Backbone:
        return of_text(self._of(model).trunk, "what is asked of it", "choose such a model")

    def _layers(self, model: ModelConfig) -> int:
        return model.n_layers or self._of(model).trunk.n_layers

    def rated(self, task: Task) -> Task:
        """The task with the difficulty that the (first) weak model finds; the raters' own examples leave it."""
        config, model = self.config, self.pool[0]
        (role,) = self._of(model).only(model).read(task.examples, self.reading)
        labels = class_index(task.examples, task.choices)

        def rating() -> Rating:
            return rate(
                role.inputs,
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
        of: dict[int, ClassRole] = {}
        for each in self.shared:
            each.find(split.examples)
        for each in self.shared:
            further = self.depths if self.pool[0] in each.models else []
            roles = each.read(split.examples, self.reading, further)
            of |= {id(model): role for model, role in zip(each.models, roles, strict=True)}
        words = tuple(example.prompt for example in split.examples)
        pool = tuple(TfidfRole(model, words) if model.is_tfidf else of[id(model)] for model in self.pool)
        strong = of[id(self.strong)]
        votes = None if task.votes is None else placed(task.votes, split)
        self._check_shown(strong, split)
        contexts = self._contexts(pool[0], strong, split)
        return ClassPrepared(self.config, replace(task, votes=None), split, pool, strong, people, votes, contexts)

    def check(self, prepared: ClassPrepared, split: Split, section: str) -> None:
        """Whether a split with other prompts, by the settings of this section, can be read.

        Raises:
            ConfigError: a model reads no text.
            DataError: a prompt is too long, by itself or behind a text.
        """
        for shared in self.shared:
            if not shared.reads_text:
                raise ConfigError(
                    f"{section}.perturb: {shared.models[0].model} reads no text that could be worded otherwise; leave "
                    "it out"
                )
            encoded(self._backbone(shared.models[0]), split.examples, shared.models[0])
        self._contexts(prepared.pool[0], prepared.strong, split)

    def _check_shown(self, role: ClassRole, split: Split) -> None:
        """Raises DataError where the longest examples that may be shown leave no room for a question."""
        if (n := self.config.students.in_context) is None:
            return
        pool, tokenizer = split.pools["hard_pool"], role.backbone.tokenizer
        answers = prompt_ids(tokenizer, [answer_text(choice) for choice in split.choices])
        breaks = max(map(len, prompt_ids(tokenizer, [BLANK])))
        shown = sorted(role.lengths[pool.start : pool.stop].tolist())[-n:]
        n_tokens = sum(shown) + n * (max(map(len, answers)) + breaks) + int(role.lengths.max())
        if reason := unreadable(n_tokens, max_length=role.config.max_length, positions=role.backbone.positions):
            raise DataError(
                f"students.in_context: the {n} longest unlabelled examples and the longest question have {reason}; or "
                "lower students.in_context"
            )

    def _contexts(self, role: ClassRole | TfidfRole, strong: ClassRole, split: Split) -> dict[int, SeedContexts]:
        """Of every seed, checked. Raises as `SeedContexts.check`."""
        if not n_contexts(self.config.ensemble):
            return {}
        assert isinstance(role, ClassRole), "checked with the settings"
        context, writer = self.config.ensemble.context, None
        if context.kind in WRITTEN:
            who = strong if context.written_by == "strong" else role
            writer = Writer(who, self.store, self.config.cache.shard_rows)
        made = {seed: SeedContexts(self.config, split, role, self.store, seed, writer) for seed in self.config.seeds}
        for contexts in made.values():
            contexts.check()
        return made


def _settled(model: ModelConfig, prompts: Sequence[str]) -> ModelConfig:
    """The settings with the pooling that suits these prompts, of a model that reads text."""
    return pooled_by_prompts(model, prompts) if reads_text(model) else model
