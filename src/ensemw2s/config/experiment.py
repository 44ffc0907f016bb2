"""The whole experiment as one frozen, validated tree."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, model_validator

from ensemw2s.config.base import Frozen
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
            self._check_generation()
        else:
            for recipe in self.students.recipes:
                recipe.check_classes()
        self._check_pool()
        self._check_one_of_many()
        self._check_in_context()
        self._check_judges()
        check_mixture(self)
        self._check_perturbed()
        for name, model in self.models:
            if model.adapter == "top" and model.n_layers is not None and model.top_layers >= model.n_layers:
                raise ValueError(
                    f"{name}.top_layers ({model.top_layers}) must be below {name}.n_layers ({model.n_layers})"
                )
            if model.adapter == "lora" and (model.lora_layers or 0) > (model.n_layers or model.lora_layers or 0):
                raise ValueError(f"{name}.lora_layers ({model.lora_layers}) exceeds {name}.n_layers ({model.n_layers})")
        if len(set(self.ensemble.methods)) != len(self.ensemble.methods):
            raise ValueError(f"ensemble.methods lists a method twice: {list(self.ensemble.methods)}")
        self._check_depths()
        if "lbfgs" in (self.expert_training.solver, self.student_training.solver):
            self._check_solvers()
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

    def _check_solvers(self) -> None:
        for role, model in self.models:
            name = "student_training" if role == "strong" else "expert_training"
            training: TrainConfig = getattr(self, name)
            if training.solver != "lbfgs":
                continue
            if not model.is_linear or training.dropout:
                raise ValueError(
                    f"{name}.solver: lbfgs fits a linear head; set {role}.adapter: head, {role}.head_hidden: 0 and "
                    f"{name}.dropout: 0, or choose auto or adamw"
                )
        stepped = [recipe.name for recipe in self.students.recipes if not recipe.has_optimum]
        if self.student_training.solver == "lbfgs" and stepped:
            raise ValueError(
                f"student_training.solver: lbfgs has no optimum to find of {stepped[0]} (students.recipes): its loss "
                "is not convex, or its samples come in an order; choose auto, which takes steps there, or adamw"
            )

    def _check_depths(self) -> None:
        first, *others = self.pool
        depth = first.n_layers
        if not others and depth is not None and (message := self.ensemble.beyond(depth)):
            raise ValueError(message)

    def _check_in_context(self) -> None:
        n = self.students.in_context
        if n is None:
            return
        if self.is_generation:
            raise ValueError(
                f"students.in_context: {self.task.name} is answered in words, and labels are shown for classes; leave "
                "it out"
            )
        if self.strong.is_features:
            raise ValueError(
                f"students.in_context: labels are shown in a prompt, and {self.strong.model} reads none; leave it out"
            )
        if self.strong.chat:
            raise ValueError(
                "students.in_context: strong.chat puts the header of a user's turn before what is shown; set "
                "strong.chat: false, or leave in_context out"
            )
        if n > self.split.n_hard_unlabelled:
            raise ValueError(
                f"students.in_context ({n}) exceeds split.n_hard_unlabelled ({self.split.n_hard_unlabelled}), whose "
                "labels are shown; lower it"
            )

    def _check_judges(self) -> None:
        kind = self.judges.kind
        asking = [r.name for r in self.students.recipes if r.reads_judges]
        if kind == "none" and asking:
            raise ValueError(
                f"students.recipes: {asking[0]} asks judges, and judges.kind is none; set it to trained, principles or "
                "likelihood, or choose another label_model, then.pairs or then.denoise"
            )
        if kind != "none" and not self.is_generation:
            raise ValueError(
                f"judges.kind: {kind} judges answers in words, and {self.task.name} is answered by one of its classes, "
                "whose probabilities say the same; leave judges out"
            )
        if kind == "principles" and self.strong.chat:
            raise ValueError(
                "judges.kind: principles asks in plain text, and strong.chat puts it into a user's turn; set "
                "strong.chat: false, or choose trained or likelihood"
            )
        if self.judges.at_test and not self.generation.samples:
            raise ValueError(
                "judges.at_test: generation.samples is 0, so there are no answers to choose among; set it above 0, or "
                "leave at_test out"
            )

    def _check_perturbed(self) -> None:
        task = self.task
        for section, settings in (("evaluation", self.evaluation), ("students.augment", self.students.augment)):
            if settings is None:
                continue
            if settings.perturb and not task.may_be_reworded:
                raise ValueError(
                    f"{section}.perturb: {settings.perturb[0]} may change the answer of a {task.name} question, which "
                    "its exact words decide; leave it out"
                )
            if settings.perturb_columns and not (settings.perturb and task.has_columns):
                lacking = (
                    f"{section}.perturb names nothing to do" if task.has_columns else f"{task.name} has no columns"
                )
                raise ValueError(f"{section}.perturb_columns: {lacking}; leave it out")

    def _check_pool(self) -> None:
        if self.strong.is_tfidf:
            raise ValueError("strong.model: tf-idf is a member of a pool of weak models; give a pretrained model")
        first, *others = self.pool
        if first.is_tfidf and self.difficulty.source != "column":
            raise ValueError(
                f"weak.0: difficulty.source ({self.difficulty.source}) is found by the first of the weak models, and "
                "tf-idf cannot; put a pretrained model first"
            )
        if self.ensemble.prior == "pretrained" and first.is_features and not others:
            raise ValueError(
                f"ensemble.prior: pretrained is the error of the weak model before training, and {first.model} says "
                "nothing untrained; choose chance, unigram or a number"
            )
        if self.ensemble.prior == "pretrained" and (others or first.is_tfidf):
            raise ValueError(
                "ensemble.prior: pretrained is the error of the one weak model before training, and `weak` is a pool; "
                "choose chance, unigram or a number"
            )

    def _check_one_of_many(self) -> None:
        """What needs experts of one weak model: merging them, and a gate over them."""
        merges, is_gated = self.ensemble.merges, self.ensemble.vote == "gated"
        first, *others = self.pool
        kind = f"a pool of {len(self.pool)}" if others else self.pool[0].model
        if merges and (others or first.is_tfidf):
            raise ValueError(
                f"ensemble.merges: {merges[0]} adds up weights of one pretrained model's experts, and `weak` is "
                f"{kind}; leave merges out, or give one model"
            )
        if merges and first.head_hidden:
            raise ValueError(
                f"ensemble.merges: {merges[0]} needs experts of one start, and hidden layers (weak.head_hidden: "
                f"{first.head_hidden}) begin at random weights of their own; set it to 0, or leave merges out"
            )
        if is_gated and (others or first.is_tfidf):
            raise ValueError(
                f"ensemble.vote: a gate reads one pretrained model's feature of a question, and `weak` is {kind}; "
                "choose `soft`, `hard` or `log`, or give one model"
            )
        if is_gated and self.is_generation:
            raise ValueError(
                f"ensemble.vote: gated is for classes, and {self.task.name} is answered in words; choose `soft` or "
                "`log`"
            )

    def _check_generation(self) -> None:
        if any(model.is_tfidf for model in self.pool):
            raise ValueError(f"weak: {self.task.name} is answered in words, which tf-idf cannot write; leave it out")
        if vectors := [name for name, model in self.models if model.is_features]:
            raise ValueError(
                f"{vectors[0]}.model: {self.task.name} is answered in words, which vectors cannot write; "
                "give a language model"
            )
        if len(self.pool) > 1 and self.generation.boost_unit == "token":
            raise ValueError(
                "generation.boost_unit: the members of a pool share no tokens that boosting could weigh; choose "
                "`sequence`, whole answers"
            )
        if self.task.votes is not None:
            raise ValueError(
                f"task.votes: {self.task.name} is answered in words, and votes are for classes; leave it out"
            )
        for name in ("expert_training", "student_training"):
            if getattr(self, name).class_weights != "none":
                raise ValueError(f"{name}.class_weights: {self.task.name} is answered in words; leave it out")
        for name, model in self.models:
            if model.adapter == "head":
                raise ValueError(
                    f"{name}.adapter: {self.task.name} is answered in words; choose `top`, `lora` or `full`"
                )
            new_tokens = self.generation.decoding.max_new_tokens
            if new_tokens != "auto" and model.max_length <= new_tokens:
                raise ValueError(
                    f"{name}.max_length ({model.max_length}) leaves no room for a prompt before "
                    f"generation.decoding.max_new_tokens ({new_tokens})"
                )
        if self.generation.answer_by == "choices" and not self.task.has_options:
            raise ValueError(
                f"generation.answer_by: the questions of {self.task.name} have no options; choose `decode`"
            )
        if self.generation.answer_by == "choices" and self.generation.samples:
            raise ValueError(
                f"generation.samples ({self.generation.samples}) has no part in answer_by: choices, which scores every "
                "option; leave it out"
            )
        if self.generation.restart and not self.task.needs_decoding:
            raise ValueError(
                f"generation.restart: it takes back lines of a worked solution, and {self.task.name} is answered "
                "without one; set task.worked: true where the task has it (gsm8k), or leave restart out"
            )
        if self.generation.answer_by == "choices" and (then := [r.name for r in self.students.recipes if r.then]):
            raise ValueError(
                f"students.recipes: {then[0]} draws answers for its second lesson, and answer_by: choices takes one of "
                "the options; choose answer_by: decode, or leave `then` out"
            )
        if len(self.pool) > 1 and self.ensemble.vote == "log":
            raise ValueError(
                "ensemble.vote: the members of a pool vote on whole answers, and have no distributions over the same "
                "tokens whose logarithms could be averaged; choose `soft` or `hard`"
            )
        if len(self.pool) == 1 and self.ensemble.vote == "hard":
            raise ValueError("ensemble.vote: next-token distributions are mixed; choose `soft` or `log`")
        for recipe in self.students.recipes:
            recipe.check_generation()
            if recipe.learns_mixtures:
                self._check_mixtures(recipe.name)

    def _check_mixtures(self, name: str) -> None:
        """Raises ValueError where there is no distribution over the student's tokens that a recipe could learn."""
        mend = "choose labels: hard, which learns the texts"
        first, *others = self.pool
        if others:
            raise ValueError(
                f"students.recipes: {name} learns probabilities of each token, and the members of a pool vote on whole "
                f"answers; {mend}"
            )
        if self.generation.answer_by == "choices":
            raise ValueError(
                f"students.recipes: {name} learns probabilities of each token that is written, and answer_by: choices "
                f"writes none; {mend}"
            )
        if first.chat != self.strong.chat:
            raise ValueError(
                f"students.recipes: {name} learns probabilities of each token, and an answer in a chat turn "
                f"(weak.chat: {str(first.chat).lower()}, strong.chat: {str(self.strong.chat).lower()}) has "
                f"others; set both alike, or {mend}"
            )
