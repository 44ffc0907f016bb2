"""What is valid and still says little: experiments whose figures could mean nothing."""

from collections.abc import Mapping

from ensemw2s.config import ExperimentConfig, ModelConfig, TrainConfig

ENOUGH_SEEDS = 5
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
    from scipy.stats import t

    wide, enough = (float(t.ppf(0.975, each - 1)) for each in (n, ENOUGH_SEEDS))
    return [
        f"seeds has {n}: a 95% interval over them reaches {wide:.1f} standard errors to each side, over five "
        f"{enough:.1f}; give five or more before you believe a small difference"
    ]


def _undertrained(config: ExperimentConfig) -> list[str]:
    trained = [("expert_training", config.training_of(model)) for model in config.pool if not model.is_tfidf][:1]
    stepped = not all(recipe.has_optimum for recipe in config.students.recipes)
    trained.append(("student_training", config.training_of_students(has_optimum=not stepped)))
    samples = {"expert_training": config.split.n_easy_train, "student_training": config.split.n_hard_unlabelled}
    found = []
    for name, training in trained:
        if not training.is_fitted and (n := _steps(training, samples[name])) < TrainConfig().min_steps:
            found.append(
                f"{name}: {training.epochs} epochs of {samples[name]:,} examples in batches of {training.batch_size} "
                f"are at most {n} optimiser steps, which is little; raise {name}.epochs (with patience it is a bound), "
                f"or lower {name}.batch_size"
            )
    return found


def _steps(training: TrainConfig, n_samples: int) -> int:
    return training.epochs * -(-n_samples // training.batch_size)
