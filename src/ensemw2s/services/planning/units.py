"""The units of work of a run, counted from its configuration and its data."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ensemw2s.config import EnsembleConfig, ExperimentConfig, JudgeConfig, TrainConfig
from ensemw2s.ensemble.methods import learning, make_method, max_members, members_of, methods_of_several

ModelVerb = Literal["read", "train", "fit", "score", "write", "ask", "judge"]
"""What takes a model time: the trunk reads, a module takes steps, is fitted to its optimum, scores given answers or
writes its own, the untrained model is asked, the whole model reads answers to judge them."""
Verb = Literal[ModelVerb, "interval"]
"""What takes time: the work of a model, and resampling items."""
Stage = Literal["prepare", "experts", "labels", "students", "evaluate"]
RoleName = str
"""A model by the name of its setting, such as `weak`, `strong` or, of a pool, `weak.0`; or `both`."""
Kind = tuple[Verb, RoleName]
"""Work that is timed together."""


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
    """Of one, in what its verb is timed by (`training_amount`), else tokens; questions for `ask`, intervals for
    `interval`."""
    tokens: int = 0
    """Read by one, with repetition; by training, scoring and writing together with the prompt."""
    flops: float = 0.0
    """Of one."""
    kept: int = 0
    """Bytes that one leaves in the store."""

    @property
    def kind(self) -> Kind:
        """By which its rate is known."""
        return self.verb, self.role


def expert_trainings(config: EnsembleConfig, n_layers: int = 1, seed: int = 0) -> int:
    """Upper bound on the number of distinct experts of one seed: those of equal stream and view are one."""
    return len(set(members_of(learning(config), n_layers, seed)))


def expert_views(config: EnsembleConfig, n_layers: int, seeds: Sequence[int]) -> Counter[tuple[float, bool]]:
    """Number of distinct trained experts of all seeds, by the share of the feature's dimensions that they read, and by
    whether they read a context before each question."""
    trained = learning(config)
    views = (view for seed in seeds for _, view in set(members_of(trained, n_layers, seed)))
    return Counter((view.feature_share, view.context is not None) for view in views)


def fold_trainings(config: EnsembleConfig) -> int:
    """Upper bound on the trainings on held-out folds of one seed: those of the methods that use errors."""
    if config.error_source != "folds":
        return 0
    methods = [make_method(name, config) for name in config.methods]
    return config.n_folds * sum(m.n_members(config.n_rounds) for m in methods if m.needs_errors)


def merged_models(config: EnsembleConfig) -> int:
    """Models of one seed that are merged from experts."""
    return len(config.merges) * len(methods_of_several(config))


def voters(config: EnsembleConfig) -> int:
    """Upper bound on the number of experts in all ensembles of one seed."""
    return max_members(config)


def student_sizes(config: ExperimentConfig, n_easy: int, n_hard: int) -> Counter[tuple[int, bool]]:
    """How many students of one seed train on how many examples, at most: a selection may leave fewer; and whether
    under a recipe that has an optimum. Recipes that differ in their second lesson share the first."""
    pairs = config.students.pairs(config.ensemble.methods)
    first = {(teacher, recipe.model_copy(update={"then": None}).model_dump_json()): recipe for teacher, recipe in pairs}
    return Counter((n_hard + (n_easy if recipe.with_easy else 0), recipe.has_optimum) for recipe in first.values())


def students_on_the_way(config: ExperimentConfig) -> int:
    """Students of one seed that label models ask."""
    pairs = config.students.pairs(config.ensemble.methods)
    return sum(recipe.make_label_model().n_students for _, recipe in pairs)


def training_amount(adapter: str, training: TrainConfig, n: int, tokens: float) -> int | float:
    """How a training is timed: a fit by the uses of an example, a head's steps cost the same whatever they read, other
    adapters pay by the token."""
    if training.is_fitted:
        return float(training.passes * n)
    return training.epochs * n / training.batch_size if adapter == "head" else training.epochs * tokens


def judge_readings(judges: JudgeConfig) -> int:
    """How often judges read each answer: by principles it is shown beside another, in both orders, for each of them."""
    return 2 * len(judges.principles) if judges.kind == "principles" else 1


def training_verb(training: TrainConfig) -> Literal["train", "fit"]:
    return "fit" if training.is_fitted else "train"


def trainings_of(config: ExperimentConfig) -> tuple[tuple[RoleName, TrainConfig], ...]:
    """Each way, resolved, in which one of the pretrained models is trained."""
    pretrained = [(name, model) for name, model in config.models if name != "strong" and not model.is_tfidf]
    has_optimum = (True, *(recipe.has_optimum for recipe in config.students.recipes))
    of_students = dict.fromkeys(config.training_of_students(has_optimum=each) for each in has_optimum)
    experts = ((name, config.training_of(model)) for name, model in pretrained)
    return *experts, *(("strong", training) for training in of_students)


@dataclass(frozen=True)
class PoolTrainings:
    """Trainings of one seed's experts where there is a pool; `chosen` ones are of a member that only the run knows."""

    experts: Counter[int]
    """By member."""
    chosen: int
    folds: Counter[int]


def pool_trainings(config: EnsembleConfig, n_members: int) -> PoolTrainings:
    """Upper bounds; every member is trained once on all examples alike, and other methods' first experts are these."""
    experts, folds, chosen = Counter(range(n_members)), Counter[int](), 0
    for method in (make_method(name, config) for name in config.methods):
        rounds = range(method.n_members(config.n_rounds))
        new = [t % n_members for t in rounds if t > 0 or not method.shares_first]
        if method.takes == "turn":
            experts.update(new)
        if method.takes == "least_error":
            chosen += len(new)
            folds.update({member: config.n_folds * len(rounds) for member in range(n_members)})
        elif method.needs_errors and config.error_source == "folds":
            folds.update(t % n_members for t in rounds for _ in range(config.n_folds))
    return PoolTrainings(experts, chosen, folds)
