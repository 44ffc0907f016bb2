"""The methods that a leaderboard compares: each is whose labels are learned, and how.

Every loss, label model and selection of the tables in `core` is here by its own name, on the labels of the reference
teacher; so a new one is compared without another line.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ensemw2s.config import ExperimentConfig, Recipe, parse_config
from ensemw2s.config.recipe import Teacher
from ensemw2s.errors import ConfigError
from ensemw2s.names import BOOSTING, INDEPENDENT, SINGLE
from ensemw2s.results import conditions
from ensemw2s.results.conditions import SELF, student
from ensemw2s.tables import LABEL_MODELS, LOSSES, PREFERENCE_LOSSES, SELECTIONS
from ensemw2s.tables import METHODS as ENSEMBLES

REFERENCE = INDEPENDENT
"""Whose labels the losses, label models and selections are compared on: equal members are what label models assume."""
AUTO = conditions.AUTO.key
"""The method that chooses among the others."""


@dataclass(frozen=True)
class MethodSpec:
    """One way from weak supervision to a student."""

    group: str
    teacher: Teacher
    recipe: Recipe


def _on_reference(group: str, **settings: object) -> MethodSpec:
    return MethodSpec(group, REFERENCE, Recipe.model_validate(settings))


METHODS: dict[str, MethodSpec] = {
    **{name: MethodSpec("teacher", name, Recipe()) for name in ENSEMBLES},
    "self-training": MethodSpec("teacher", SELF, Recipe()),
    "hard-labels": _on_reference("loss", labels="hard"),
    **{name: _on_reference("loss", loss=name) for name in LOSSES if name != Recipe().loss},
    **{name: _on_reference("label model", label_model=name) for name in LABEL_MODELS if name != Recipe().label_model},
    **{name: _on_reference("selection", selection=name) for name in SELECTIONS if name != Recipe().selection},
    **{
        f"{name}+easy": MethodSpec("with easy labels", name, Recipe(with_easy=True))
        for name in (SINGLE, INDEPENDENT, BOOSTING, SELF)
    },
    "confidence+easy": _on_reference("with easy labels", selection="confidence", with_easy=True),
    "agreement+easy": _on_reference("with easy labels", selection="agreement", with_easy=True),
    "top-rho+easy": _on_reference("with easy labels", selection="top-rho", with_easy=True),
    "self-knowledge+easy": _on_reference("with easy labels", selection="self-knowledge", with_easy=True),
    "next-round+easy": _on_reference("with easy labels", label_model="next-round", with_easy=True),
    "easy-weight-4": _on_reference("with easy labels", with_easy=True, easy_weight=4.0),
    **{f"then-{name}": _on_reference("second lesson", then={"loss": name}) for name in PREFERENCE_LOSSES},
    **{
        f"then-{name}+easy": _on_reference("second lesson", then={"loss": name}, with_easy=True)
        for name in PREFERENCE_LOSSES
    },
    "curriculum+easy": _on_reference("with easy labels", with_easy=True, curriculum="confidence"),
    "weighed+easy": _on_reference("with easy labels", with_easy=True, weigh_by="confidence"),
}
"""Name to method; `auto` is no line here, for it chooses among the others."""


def chosen_methods(names: str) -> list[str]:
    """The methods that a comma-separated list names; `all` is every one, and `auto`.

    Raises:
        ConfigError: a name is unknown, or there is none.
    """
    known = [*METHODS, AUTO]
    wanted = known if names.strip() == "all" else [n.strip() for n in names.split(",") if n.strip()]
    unknown = [n for n in wanted if n not in known]
    if unknown or not wanted:
        raise ConfigError(
            f"--methods: there is no {(unknown or [names])[0]!r}; choose all, or some of {', '.join(known)}"
        )
    # Gains are counted from the student of a single expert, so it is always there.
    return list(dict.fromkeys([SINGLE, *wanted]))


def with_methods(config: ExperimentConfig, names: Sequence[str]) -> tuple[ExperimentConfig, dict[str, str]]:
    """A task's configuration that trains these methods alone, and the row of the table of each.

    A method that the task cannot have (a loss for classes where answers are words, members that need a trained head) is
    left out.
    """
    fits: dict[str, MethodSpec] = {}
    for name in (n for n in names if n != AUTO):
        spec = METHODS[name]
        if spec.teacher in ENSEMBLES and not _can_have(config, ENSEMBLES[spec.teacher]):
            continue
        if config.is_generation:
            spec = MethodSpec(spec.group, spec.teacher, spec.recipe.model_copy(update={"labels": "hard"}))
        try:
            (spec.recipe.check_generation if config.is_generation else spec.recipe.check_classes)()
        except ValueError:
            continue
        if spec not in fits.values():  # in words all labels are hard
            fits[name] = spec
    recipes = {spec.recipe.name: spec.recipe for spec in fits.values()}
    teachers = {name: sorted(s.teacher for s in fits.values() if s.recipe.name == name) for name in recipes}
    methods = [m for m in ENSEMBLES if any(spec.teacher == m for spec in fits.values())]
    tree = config.model_dump(mode="json")
    tree["ensemble"] |= {"methods": methods, "merges": [], "merge_options": {}}  # no student learns of a merged model
    tree["students"] = {
        "recipes": [recipe.model_dump() | {"teachers": teachers[name]} for name, recipe in recipes.items()],
        "method": "auto" if AUTO in names else "recipes",
    }
    tree["deliver"] = {}  # its students are compared, not used
    rows = {name: student(spec.teacher, spec.recipe.name).key for name, spec in fits.items()}
    return parse_config(tree), rows | ({AUTO: AUTO} if AUTO in names else {})


def _can_have(config: ExperimentConfig, kind: type[Any]) -> bool:
    """Whether a task's weak model and labelled examples suffice for an ensemble method."""
    weak, split, settings = config.pool[0], config.split, config.ensemble
    if kind.needs_pooled_head and (len(config.pool) > 1 or weak.adapter != "head" or weak.is_tfidf):
        return False
    n_shown = settings.context.n * settings.n_rounds if settings.context.kind == "demonstrations" else 0
    n_spare = split.n_easy_pool - split.n_easy_train - split.n_easy_val
    if weak.is_features and (kind.reads_contexts or not kind.learns):
        return False
    if kind.reads_contexts and (weak.chat or n_spare < 2 * n_shown):  # the classes need not be even
        return False
    return kind.learns or weak.n_layers is None
