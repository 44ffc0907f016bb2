"""How the members of an ensemble are made: the open table of ensemble methods.

A method is a frozen dataclass whose fields are its options (`base.EnsembleMethod`); those built in are in `built_in`.
"""

from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ensemw2s.config import EnsembleConfig, ExperimentConfig, GenerationConfig
from ensemw2s.core.seeds import stream_seed
from ensemw2s.ensemble.contexts import WRITTEN
from ensemw2s.ensemble.methods.base import Draw, EnsembleMethod, EqualVotes, Samples
from ensemw2s.errors import ConfigError
from ensemw2s.records import View
from ensemw2s.tables import METHODS

__all__ = [
    "Draw",
    "EnsembleMethod",
    "EqualVotes",
    "Samples",
    "check_methods",
    "depths_of",
    "expert_stream",
    "learning",
    "make_method",
    "max_members",
    "members_of",
    "methods_of_several",
    "n_asked",
    "n_contexts",
]


def make_method(name: str, ensemble: EnsembleConfig, generation: GenerationConfig | None = None) -> EnsembleMethod:
    """The method of that name with its options.

    An option is the setting of the same name in `ensemble` or `generation`, or one of `ensemble.method_options`.

    Raises:
        ConfigError: there is no such method, it has no such option, or an option's value is not allowed.
    """
    if name not in METHODS:
        raise ConfigError(f"ensemble.methods: there is no {name!r}; choose among {', '.join(METHODS)}")
    kind = METHODS[name]
    if not _is_method(kind):
        raise ConfigError(
            f"ensemble.methods: {name} ({kind!r}) is not an ensemble method; it must be a dataclass with all that "
            "EnsembleMethod has, which EqualVotes gives but for its label"
        )
    known = [field.name for field in fields(kind)]
    settings = dict(ensemble) | (dict(generation) if generation is not None else {})
    options = ensemble.method_options.get(name, {})
    setting = f"ensemble.method_options.{name}"
    if unknown := sorted(set(options) - set(known)):
        raise ConfigError(f"{setting}: {name} has no {unknown[0]!r}; it has {', '.join(known) or 'none'}")
    given = {option: settings[option] for option in known if option in settings} | options
    try:
        method: EnsembleMethod = TypeAdapter[Any](kind).validate_python(given)
        return method
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in (setting, *first["loc"]))
        raise ConfigError(f"{place}: {first['msg']}, got {first['input']!r}") from None


def _is_method(kind: Any) -> bool:
    return is_dataclass(kind) and isinstance(kind, EnsembleMethod)


def check_methods(config: ExperimentConfig) -> None:
    """Raises ConfigError where a method of the run cannot be made, or needs what the run's weak model has not."""
    if config.ensemble.merges and not methods_of_several(config.ensemble):
        raise ConfigError(
            "ensemble.merges: no method of the run has several members; add one to ensemble.methods, raise "
            "ensemble.n_rounds, or leave merges out"
        )
    if config.strong.lora_start == "weak" and not methods_of_several(learning(config.ensemble)):
        raise ConfigError(
            "strong.lora_start: weak begins with the experts of a method that trains several, and the run has none; "
            "add one to ensemble.methods, or start from zero"
        )
    _check_judges(config)
    for name in config.ensemble.methods:
        method, n_weak = make_method(name, config.ensemble, config.generation), len(config.pool)
        first, in_words = config.pool[0], config.is_generation and method.reads_contexts
        if not (method.needs_pooled_head or in_words):
            continue
        if config.ensemble.merges:
            raise ConfigError(
                f"ensemble.merges: members of {name} read different parts of the model, so their weights cannot be "
                f"added up; take {name} out of ensemble.methods, or leave merges out"
            )
        if n_weak > 1 or first.is_tfidf:
            raise ConfigError(
                f"ensemble.methods: members of {name} read parts of one pretrained model, and `weak` is a pool of "
                f"{n_weak}; take {name} out, or give one model"
            )
        if in_words and (kind := config.ensemble.context.kind) in WRITTEN:
            raise ConfigError(
                f"ensemble.context.kind: {kind} is written for every class of a question, and {config.task.name} is "
                "answered in words; choose demonstrations or principles"
            )
        unread = [("weak", first)] if method.reads_contexts or not method.learns else []
        if method.reads_contexts and config.ensemble.context.kind in WRITTEN:
            unread += [("strong", config.strong)] * (config.ensemble.context.written_by == "strong")
        if vectors := [f"{role}.model ({model.model})" for role, model in unread if model.is_features]:
            raise ConfigError(
                f"ensemble.methods: members of {name} need a model of text, and {vectors[0]} is vectors; take it out"
            )
        if not in_words and (config.is_generation or first.adapter != "head"):
            form = f"{config.task.name} is answered in words" if config.is_generation else f"got {first.adapter}"
            mend = "take it out" if config.is_generation else "set that, or take it out"
            raise ConfigError(
                f"ensemble.methods: members of {name} read one pooled feature, which only classes with "
                f"weak.adapter: head have ({form}); {mend}"
            )
        if method.reads_contexts and first.chat:
            raise ConfigError(
                f"ensemble.methods: members of {name} read a context before the question, and weak.chat puts the "
                f"header of a user's turn before both; set weak.chat: false, or take {name} out"
            )


def _check_judges(config: ExperimentConfig) -> None:
    """Raises ConfigError where judges cannot be made so."""
    if config.judges.kind != "trained":
        return
    name, n_layers = config.judges.method, 8  # any number tells whether members differ in their depth
    method = make_method(name, config.ensemble)
    views = [method.view(n_layers, t, 0) for t in range(method.n_members(n_layers))]
    if not method.learns or any(view.depth is not None or view.context is not None for view in views):
        raise ConfigError(
            f"judges.method: members of {name} read something else than a judge's one feature of question and answer; "
            "choose a method such as bagging, boosting, independent or subspace"
        )


def learning(config: EnsembleConfig) -> EnsembleConfig:
    """The settings with those methods alone whose members are trained."""
    return config.model_copy(update={"methods": tuple(m for m in config.methods if make_method(m, config).learns)})


def n_asked(config: EnsembleConfig) -> int:
    """Number of members in all ensembles of one seed that are asked and not trained."""
    return max_members(config) - max_members(learning(config))


def n_contexts(config: EnsembleConfig) -> int:
    """How many contexts the members of one seed read, at most."""
    methods = [make_method(name, config) for name in config.methods]
    return max((m.n_members(config.n_rounds) for m in methods if m.reads_contexts), default=0)


def expert_stream(method: str, seed: int, position: int) -> int:
    """The seed of a member: two of equal seed, view and draw are one."""
    kind = METHODS[method]
    purpose = "first" if kind.shares_first and position == 0 else kind.stream or method
    return stream_seed(seed, "expert", purpose, position)


def max_members(config: EnsembleConfig) -> int:
    """Upper bound on the number of experts in all ensembles of one seed."""
    return sum(make_method(name, config).n_members(config.n_rounds) for name in config.methods)


def methods_of_several(config: EnsembleConfig) -> list[str]:
    """The methods that have several members, which can be merged, or told apart by a gate."""
    return [name for name in config.methods if make_method(name, config).n_members(config.n_rounds) > 1]


def members_of(config: EnsembleConfig, n_layers: int, seed: int) -> list[tuple[int, View]]:
    """Stream and view of every member that one seed's ensembles may have, method by method."""
    found: list[tuple[int, View]] = []
    for name in config.methods:
        method = make_method(name, config)
        found += [
            (expert_stream(name, seed, position), method.view(n_layers, position, seed))
            for position in range(method.n_members(config.n_rounds))
        ]
    return found


def depths_of(config: EnsembleConfig, n_layers: int, seeds: tuple[int, ...]) -> set[int]:
    """Every depth, in layers, that some member of these seeds reads, except the weak model's own."""
    depths = {view.depth for seed in seeds for _, view in members_of(config, n_layers, seed)}
    return {depth for depth in depths if depth is not None}
