"""The conditions of a run, in the order of the table, each with its name in words: the only place that makes one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ensemw2s.config import JudgeConfig, StudentConfig
from ensemw2s.config.preference import Preference
from ensemw2s.config.recipe import Recipe
from ensemw2s.results.conditions import (
    AUGMENTED,
    AUTO,
    BEST_OF_N,
    BEST_SINGLE,
    CEILING,
    MAJORITY,
    MAJORITY_OF_N,
    NEAREST,
    SELF,
    SINGLE_LONG,
    STRONG_ON_EASY,
    TFIDF,
    TFIDF_SELF_TRAINED,
    ZERO_SHOT,
    Condition,
    chosen_of_n,
    ensemble,
    in_context,
    merged,
    student,
)
from ensemw2s.tables import MERGES, METHODS

_NAMES = {
    MAJORITY: "majority class",
    TFIDF: "TF-IDF on easy labels",
    TFIDF_SELF_TRAINED: "TF-IDF, self-trained",
    NEAREST: "nearest easy question's answer",
    ZERO_SHOT: "strong model, zero-shot",
    BEST_SINGLE: "best weak expert",
    SINGLE_LONG: "one weak expert at T times the budget",
    STRONG_ON_EASY: "strong model on easy labels",
    AUGMENTED: "strong model on easy labels and their hardest perturbed copies",
    AUTO: "student that auto chose",
}
_CEILING = "strong model on the true hard labels"
_LOSSES = {"logconf": "log-confidence loss", "smoothing": "label smoothing", "entropy": "entropy regularisation"}
_LABEL_MODELS = {
    "majority": "majority vote",
    "alpha": "votes weighted by alpha",
    "dawid-skene": "Dawid-Skene",
    "glws": "GLWS",
    "raven": "RAVEN",
    "co-supervised": "co-supervision",
    "next-round": "another round of students",
    "judged": "judges",
}

_CHOSEN = {BEST_OF_N: "best of its samples by judges", MAJORITY_OF_N: "commonest of its samples"}
_PREFERENCES = {"sft": "the better answers alone"}


@dataclass(frozen=True)
class NamedCondition:
    """A condition with its label in the table."""

    condition: Condition
    label: str
    how: str = ""
    """The end of the label that says how it learns."""


def named(condition: Condition, recipe: Recipe | None = None) -> NamedCondition:
    """A condition with its name; a student's says how its recipe learns."""
    if condition.kind == "ensemble":
        return NamedCondition(condition, METHODS[str(condition.method)].label)
    if condition.kind == "merged":
        return NamedCondition(
            condition, f"{METHODS[str(condition.method)].label}, {MERGES[str(condition.merge)].label}"
        )
    if condition.kind == "in_context":
        how = f"shown labels of the {METHODS[str(condition.method)].label}"
        return NamedCondition(condition, f"strong model, untrained, {how}", how)
    if condition.kind in _CHOSEN:
        how = _CHOSEN[condition.kind]
        model = student(condition.method, str(condition.recipe)) if condition.method else STRONG_ON_EASY
        return NamedCondition(condition, f"{named(model, recipe).label}, {how}", how)
    if condition == CEILING:
        return NamedCondition(condition, f"ceiling: {_CEILING}", _CEILING)
    if recipe is None:
        return NamedCondition(condition, _NAMES[condition])
    if condition.teacher == SELF:
        who, how = "self-trained strong model", f"on {labels_in_words(recipe)}"
    else:
        who = f"student of the {METHODS[str(condition.method)].label}"
        how = f"trained on {labels_in_words(recipe)}"
    return NamedCondition(condition, f"{who}, {how}", how)


def labels_in_words(recipe: Recipe) -> str:
    """What a recipe learns, in words: "soft labels, with the easy labels"; recipes that differ read differently."""
    words = f"{recipe.labels} labels{_options(recipe.soft_options)}"
    if recipe.label_model != "vote":
        name = _LABEL_MODELS.get(recipe.label_model, recipe.label_model)
        words += f" by {name}{_options(recipe.label_model_options)}"
    parts = [words]
    if recipe.loss != "xent":
        parts.append(f"{_LOSSES.get(recipe.loss, f'{recipe.loss} loss')}{_options(recipe.options)}")
    if recipe.selection != "all":
        parts.append(f"selected by {recipe.selection}{_options(recipe.selection_options)}")
    if not recipe.outside_votes:
        parts.append("without outside voters")
    if recipe.weigh_by == "confidence":
        parts.append("weighed by confidence")
    if recipe.curriculum != "none":
        first = {"confidence": "surest first", "difficulty": "easiest first"}[recipe.curriculum]
        parts.append(first + _options(recipe.pace))
    if recipe.with_easy:
        weight = {} if recipe.easy_weight == 1.0 else {"weight": recipe.easy_weight}
        parts.append("with the easy labels" + _options(weight))
    if recipe.then is not None:
        parts.append(_second_lesson(recipe.then))
    return ", ".join(parts)


def _second_lesson(then: Preference) -> str:
    """What follows the labels, in words: "then preferences by DPO of pairs by majority"."""
    what = _PREFERENCES.get(then.loss, f"preferences by {then.loss.upper()}{_options(then.options)}")
    whose = {"judged": "judges"}.get(then.pairs, then.pairs)
    settings = {name: value for name, value in then.settings.items() if name != "denoise"}
    denoised = "" if then.denoise == "none" else f", denoised by {then.denoise}"
    return f"then {what} of pairs by {whose}{denoised}{_options(then.pairs_options | settings)}"


def all_conditions(
    methods: Sequence[str], students: StudentConfig, merges: Sequence[str] = (), judges: JudgeConfig | None = None
) -> list[NamedCondition]:
    """Every condition that a run may have, in the order of the table."""
    plain = (MAJORITY, TFIDF, TFIDF_SELF_TRAINED, NEAREST, ZERO_SHOT, BEST_SINGLE, SINGLE_LONG)
    of_one_model = [merged(method, merge) for method in methods for merge in merges]
    found = [named(c) for c in (*plain, *map(ensemble, methods), *of_one_model, STRONG_ON_EASY)]
    found += [named(AUGMENTED)] if students.augment is not None else []
    found += [named(student(teacher, recipe.name), recipe) for teacher, recipe in students.pairs(methods)]
    if students.method == "auto":
        found.append(named(AUTO))
    if students.in_context is not None:
        found += [named(in_context(method)) for method in methods]
    if judges is not None and judges.at_test:
        first = students.recipes[0]
        models = [(None, None), *((teacher, r) for teacher, r in students.pairs(methods) if r == first)]
        found += [
            named(chosen_of_n(kind, teacher, recipe and recipe.name), recipe)
            for teacher, recipe in models
            for kind in (BEST_OF_N, MAJORITY_OF_N)
        ]
    return [*found, named(CEILING)]


def _options(options: Mapping[str, object]) -> str:
    return f" ({', '.join(f'{name} {value}' for name, value in options.items())})" if options else ""
