"""What is valid and still says little: experiments whose figures could mean nothing."""

from collections.abc import Mapping

from ensemw2s.config import ExperimentConfig, ModelConfig, TrainConfig

ENOUGH_SEEDS = 5
REACH = {2: 12.7, 3: 4.3, 4: 3.2, 5: 2.8}
"""Of a 95% interval over so many seeds, in standard errors: Student's t."""
NOT_STRENGTH = {"max_length", "dtype", "chat", "pooling", "trust_remote_code_from", "n_layers"}
"""Settings of a model that make it neither weaker nor stronger, and its layers, which are compared as numbers."""


def advice(config: ExperimentConfig, layers: Mapping[str, int]) -> list[str]:
    """Sentences on what the user may not have meant.

    Args:
        layers: setting to its number of layers, of the models of which it is known.
    """
    return [*_no_weaker(config, layers), *_no_ensemble(config), *_few_seeds(config), *_undertrained(config)]


def _no_weaker(config: ExperimentConfig, layers: Mapping[str, int]) -> list[str]:
    found = []
    for setting, weak in config.models[:-1]:
        if _strength(weak) != _strength(config.strong):
            continue
        deep, deepest = (layers.get(name, model.n_layers) for name, model in ((setting, weak), config.models[-1]))
        if deep == deepest or (deep is not None and deepest is not None and deep > deepest):
            found.append(
                f"{setting} is no weaker than strong: {weak.model} with as many layers and the same trained parts, so "
                f"nothing is stronger than its supervisor; lower {setting}.n_layers, or name another model"
            )
    return found


def _strength(model: ModelConfig) -> dict[str, object]:
    return model.model_dump(exclude=NOT_STRENGTH)


def _no_ensemble(config: ExperimentConfig) -> list[str]:
    ensemble = config.ensemble
    if set(ensemble.methods) == {"single"}:
        return ["ensemble.methods has `single` alone: nothing is combined; add boosting, bagging or independent"]
    many = ", ".join(method for method in ensemble.methods if method != "single")
    for name, number in (("n_rounds", ensemble.n_rounds), ("select_by", ensemble.select_by)):
        if number == 1:
            return [f"ensemble.{name} is 1: the ensembles ({many}) have one member, which is no ensemble; raise it"]
    return []


def _few_seeds(config: ExperimentConfig) -> list[str]:
    n = len(config.seeds)
    if n >= ENOUGH_SEEDS:
        return []
    if n == 1:
        return ["seeds has one: nothing tells how much another draw of the data would change; give five or more"]
    return [
        f"seeds has {n}: a 95% interval over them reaches {REACH[n]} standard errors to each side, over five "
        f"{REACH[ENOUGH_SEEDS]}; give five or more before you believe a small difference"
    ]


def _undertrained(config: ExperimentConfig) -> list[str]:
    found = []
    experts, students = config.split.n_easy_train, config.split.n_hard_unlabelled
    if _is_short(config.expert_training, experts) and not all(
        model.is_tfidf or config.training_of(model).is_fitted for model in config.pool
    ):
        found.append(_short("expert_training", config.expert_training, experts))
    if _is_short(config.student_training, students):
        # Asked last: what is convex, losses say, and these load torch.
        has_optimum = all(recipe.has_optimum for recipe in config.students.recipes)
        if not config.training_of_students(has_optimum=has_optimum).is_fitted:
            found.append(_short("student_training", config.student_training, students))
    return found


def _is_short(training: TrainConfig, n_samples: int) -> bool:
    return _steps(training, n_samples) < TrainConfig().min_steps


def _short(name: str, training: TrainConfig, n_samples: int) -> str:
    return (
        f"{name}: {training.epochs} epochs of {n_samples:,} examples in batches of {training.batch_size} are at most "
        f"{_steps(training, n_samples)} optimiser steps, which is little; raise {name}.epochs (with patience it is a "
        f"bound), or lower {name}.batch_size"
    )


def _steps(training: TrainConfig, n_samples: int) -> int:
    return training.epochs * -(-n_samples // training.batch_size)
