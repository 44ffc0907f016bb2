"""The whole experiment as one frozen, validated tree."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, model_validator

from ensemw2s.config.base import Frozen
from ensemw2s.config.checks import (
    check_depths,
    check_in_context,
    check_one_of_many,
    check_perturbed,
    check_pool,
    check_solvers,
)
from ensemw2s.config.deliver import DeliverConfig
from ensemw2s.config.ensemble import EnsembleConfig
from ensemw2s.config.evaluation import EvaluationConfig
from ensemw2s.config.generation import GenerationConfig
from ensemw2s.config.judge import JudgeConfig
from ensemw2s.config.mixture import check_mixture
from ensemw2s.config.model import CacheConfig, ModelConfig
from ensemw2s.config.preference import Preference
from ensemw2s.config.recipe import StudentConfig
from ensemw2s.config.task import AnyTask, DifficultyConfig, SplitConfig, read_task
from ensemw2s.config.training import TrainConfig
from ensemw2s.config.word_checks import check_generation, check_judges
from ensemw2s.names import TINY_MODELS
from ensemw2s.text import name_problem


def _plain_name(name: str) -> str:
    if problem := name_problem(name):
        raise ValueError(f"not the plain name of a folder: {problem}")
    return name


def _read_weak(value: Any) -> Any:
    """The settings of one model, or of several; a name stands for the model of that name, a list of one for its one."""
    if not isinstance(value, list | tuple):
        return ModelConfig.model_validate({"model": value} if isinstance(value, str) else value)
    named = [{"model": each} if isinstance(each, str) else each for each in value]
    pool = TypeAdapter(tuple[ModelConfig, ...]).validate_python(named)
    if not pool:
        raise ValueError("the list is empty; give at least one model")
    return pool if len(pool) > 1 else next(iter(pool))


class ExperimentConfig(Frozen):
    """Everything that decides a result; beside it there is `tracking` alone."""

    younger: ClassVar[tuple[str, ...]] = ("judges", "evaluation")

    name: Annotated[str, AfterValidator(_plain_name)] = "geo-facts"
    """Of the run, and of its folder below `runs`."""
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0, 1, 2)
    task: AnyTask = Field(default_factory=lambda: read_task({}))
    difficulty: DifficultyConfig = DifficultyConfig()
    split: SplitConfig = SplitConfig()
    weak: Annotated[ModelConfig | tuple[ModelConfig, ...], BeforeValidator(_read_weak)] = ModelConfig(n_layers=10)
    """The weak model, or a pool of several, of which each round of an ensemble takes one."""
    strong: ModelConfig = ModelConfig(n_layers=20)
    expert_training: TrainConfig = TrainConfig()
    student_training: TrainConfig = TrainConfig()
    ensemble: EnsembleConfig = EnsembleConfig()
    students: StudentConfig = StudentConfig()
    generation: GenerationConfig = GenerationConfig()
    judges: JudgeConfig = JudgeConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    cache: CacheConfig = CacheConfig()
    deliver: DeliverConfig = DeliverConfig()
    tracking: Annotated[Literal["none", "trackio", "wandb", "mlflow", "tensorboard"], Field(exclude=True)] = "none"
    """The experiment tracker that `run` and `sweep` log to while they work. It decides nothing: it has no part in
    hashes, keys and records."""

    @model_validator(mode="after")
    def _consistent(self) -> "ExperimentConfig":
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds must be distinct, got {list(self.seeds)}")
        if self.task.has_unlabelled and self.difficulty.source != "column":
            raise ValueError(
                f"difficulty.source ({self.difficulty.source}) has no part where task.unlabelled is given; leave it out"
            )
        paced = [r.name for r in self.students.recipes if r.curriculum == "difficulty"]
        if self.task.has_unlabelled and paced:
            raise ValueError(
                f"students.recipes: {paced[0]} goes by difficulty, which nobody knows where task.unlabelled is given; "
                "choose curriculum: confidence"
            )
        alone = [r.name for r in self.students.recipes if not r.outside_votes]
        if alone and not self.task.has_votes:
            raise ValueError(
                f"students.recipes: {alone[0]} leaves outside votes out, and {self.task.name} has none; leave "
                "outside_votes out, or give task.votes"
            )
        if self.split.kind == "random" and (self.task.has_unlabelled or self.difficulty.source != "column"):
            given = "task.unlabelled" if self.task.has_unlabelled else "difficulty.source"
            raise ValueError(f"split.kind: random deals all examples alike, so {given} has no part; leave it out")
        if self.is_generation:
            check_generation(self)
        else:
            for recipe in self.students.recipes:
                recipe.check_classes()
        check_pool(self)
        check_one_of_many(self)
        check_in_context(self)
        check_judges(self)
        check_mixture(self)
        check_perturbed(self)
        for name, model in self.models:
            if model.adapter == "top" and model.n_layers is not None and model.top_layers >= model.n_layers:
                raise ValueError(
                    f"{name}.top_layers ({model.top_layers}) must be below {name}.n_layers ({model.n_layers})"
                )
            if model.adapter == "lora" and (model.lora_layers or 0) > (model.n_layers or model.lora_layers or 0):
                raise ValueError(f"{name}.lora_layers ({model.lora_layers}) exceeds {name}.n_layers ({model.n_layers})")
        if len(set(self.ensemble.methods)) != len(self.ensemble.methods):
            raise ValueError(f"ensemble.methods lists a method twice: {list(self.ensemble.methods)}")
        check_depths(self)
        if "lbfgs" in (self.expert_training.solver, self.student_training.solver):
            check_solvers(self)
        names = [r.name for r in self.students.recipes]
        if len(set(names)) != len(names):
            raise ValueError(f"students.recipes lists a recipe twice: {names}")
        there = ("self", *self.ensemble.methods)
        for recipe in self.students.recipes:
            if missing := [t for t in recipe.teachers if t not in there]:
                raise ValueError(
                    f"students.recipes: {recipe.name} has the teacher {missing[0]}, which the run lacks; choose "
                    f"among {', '.join(there)}, or add it to ensemble.methods"
                )
        return self

    @property
    def pool(self) -> tuple[ModelConfig, ...]:
        """The weak models: mostly one."""
        return self.weak if isinstance(self.weak, tuple) else (self.weak,)

    @property
    def pool_names(self) -> tuple[str, ...]:
        """Names of the pool's members for readers: the model's own where no other member has it."""
        models = [member.model for member in self.pool]
        return tuple(m if models.count(m) == 1 else f"{m}[{place}]" for place, m in enumerate(models))

    @property
    def models(self) -> list[tuple[str, ModelConfig]]:
        """All models, each with the name of its setting."""
        is_pool = len(self.pool) > 1
        weak = [(f"weak.{place}" if is_pool else "weak", member) for place, member in enumerate(self.pool)]
        return [*weak, ("strong", self.strong)]

    @property
    def is_generation(self) -> bool:
        """Whether the task is answered by texts."""
        return self.task.is_free

    @property
    def is_tiny(self) -> bool:
        """Whether a model of random weights takes part, whose figures mean nothing."""
        return any(model.model in TINY_MODELS for _, model in self.models)

    @property
    def template(self) -> str:
        """The template of the task's prompts, kept with everything that is exported."""
        return self.task.template

    @property
    def training_of_experts(self) -> TrainConfig:
        """That of the (first) weak model, which rates difficulty, too."""
        return self.training_of(self.pool[0])

    @property
    def long_training(self) -> TrainConfig:
        """`expert_training` of one expert that is given the whole ensemble's budget."""
        return self.expert_training.model_copy(update={"epochs": self.expert_training.epochs * self.ensemble.n_rounds})

    def training_of(self, weak: ModelConfig) -> TrainConfig:
        """`expert_training`, resolved for a weak model: experts learn labels by cross-entropy."""
        return self.expert_training.resolved(weak, has_optimum=True)

    def training_of_students(self, *, has_optimum: bool) -> TrainConfig:
        """`student_training`, resolved.

        Args:
            has_optimum: as in `TrainConfig.resolved`: of a student as its `Recipe.has_optimum`, of what learns true
                labels True.
        """
        return self.student_training.resolved(self.strong, has_optimum=has_optimum)

    def training_of_lesson(self, then: Preference) -> TrainConfig:
        """`student_training` with the epochs and the learning rate of a second lesson."""
        training = self.training_of_students(has_optimum=False)
        epochs = training.epochs if then.epochs is None else then.epochs
        return training.model_copy(update={"epochs": epochs, "learning_rate": then.learning_rate})
