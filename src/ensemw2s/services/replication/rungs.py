"""The rungs of the ladder: which runs each needs, by overrides of settings that every run has.

As the authors' released code was read (EnsemW2S, arXiv 2410.04571): see docs/replication.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

from ensemw2s.config import ExperimentConfig, Recipe, parse_config
from ensemw2s.errors import ConfigError
from ensemw2s.names import BOOSTING, SINGLE

EPOCHS, SINGLE_EPOCHS = 5, 3
"""Of the published trainings, and of the single expert in one branch of the released code."""
BATCH_SIZE = 32
"""Theirs, unless the configuration has a smaller one."""
RELEASED = {"reweight": "resample", "max_expert_weight": 1000.0, "temperature": "none"}
"""Boosting as released: later members' examples drawn by weight, no cap of a vote, no calibration."""
PATIENCE, MOST_EPOCHS = 3, 100
"""Of the last rung, where there is no optimum to fit."""
SECTIONS = ("expert_training", "student_training")


@dataclass(frozen=True)
class Accounting:
    """How the gain is counted; by default as published. Each field is a choice that one rung undoes, in this order."""

    single_is_hard: bool = True
    """The single expert's labels are hardened, those of the ensemble are soft."""
    best_on_test: bool = True
    """A student is trained for every T, and the best by the test counts; so does the ensemble."""
    single_is_short: bool = True
    """The single expert gets fewer epochs than the boosted ones."""
    in_order: bool = True
    """Experts see their examples in the order of the data in every epoch."""
    boosts_as_released: bool = True
    first_seed: bool = True
    """The first seed alone is reported."""
    stepped: bool = True
    """Experts and students take the published number of epochs."""


@dataclass(frozen=True)
class Rung:
    """One way to count the gain, with the runs that it reads."""

    change: str
    """What it undoes, in words; of the first rung nothing."""
    accounting: Accounting
    boosted: tuple[ExperimentConfig, ...]
    """Runs that have the boosted ensemble: one for each T where the best counts."""
    single: ExperimentConfig
    recipe: str
    """Name of the recipe by which the ensemble's labels are learned."""
    single_recipe: str
    n_seeds: int
    """How many of the seeds are reported."""

    @property
    def reads(self) -> tuple[Any, ...]:
        """What decides its figures."""
        return self.boosted, self.single, self.recipe, self.single_recipe, self.n_seeds


@dataclass(frozen=True)
class LadderPlan:
    """All rungs of a configuration."""

    config: ExperimentConfig
    rungs: tuple[Rung, ...]
    left_out: tuple[str, ...]
    """Changes that would change nothing here."""

    @cached_property
    def runs(self) -> tuple[ExperimentConfig, ...]:
        """Every run once, in the order of the rungs."""
        each = [config for rung in self.rungs for config in (*rung.boosted, rung.single)]
        return tuple(config for i, config in enumerate(each) if config not in each[:i])


def plan_ladder(config: ExperimentConfig) -> LadderPlan:
    """The ladder of a configuration, every run validated.

    Raises:
        ConfigError: an ensemble of one round has no gain, or a variant of the configuration is not valid.
    """
    if config.ensemble.n_rounds < 2:
        raise ConfigError(
            f"ensemble.n_rounds ({config.ensemble.n_rounds}): replicate compares a boosted ensemble with its first "
            "expert; give two rounds or more"
        )
    accounting = Accounting()
    rungs, left_out = [_rung(config, "", accounting)], []
    for field in fields(Accounting):
        accounting = replace(accounting, **{field.name: False})
        rung = _rung(config, _change(config, field.name), accounting)
        if rung.reads == rungs[-1].reads:
            left_out.append(rung.change)
        else:
            rungs.append(rung)
    return LadderPlan(config, tuple(rungs), tuple(left_out))


def _change(config: ExperimentConfig, undone: str) -> str:
    return {
        "single_is_hard": "the single expert's labels soft, too",
        "best_on_test": "T chosen on easy validation data, not on the test",
        "single_is_short": f"the single expert trained for {EPOCHS} epochs, too, not {SINGLE_EPOCHS}",
        "in_order": "training data shuffled in every epoch",
        "boosts_as_released": "boosting as configured, not as released (drawn by weight, no cap, no calibration)",
        "first_seed": "every seed, not the first alone",
        "stepped": "everything trained until more changes nothing",
    }[undone]


def _rung(config: ExperimentConfig, change: str, accounting: Accounting) -> Rung:
    hard = Recipe(labels="hard")
    soft = hard if config.is_generation else Recipe()  # pseudo-answers are texts, which are learned as they are
    sizes = range(1, config.ensemble.n_rounds + 1) if accounting.best_on_test else (None,)
    boosted = tuple(_boosted(config, accounting, size, soft) for size in sizes)
    single = boosted[-1]
    if accounting.single_is_short:
        single = _short_single(config, accounting, [hard] if soft == hard else [soft, hard])
    return Rung(
        change=change,
        accounting=accounting,
        boosted=boosted,
        single=single,
        recipe=soft.name,
        single_recipe=(hard if accounting.single_is_hard else soft).name,
        n_seeds=1 if accounting.first_seed else len(config.seeds),
    )


def _boosted(config: ExperimentConfig, accounting: Accounting, size: int | None, recipe: Recipe) -> ExperimentConfig:
    tree = _tree(config, accounting, [recipe], [SINGLE, BOOSTING])
    if size is not None:
        tree["ensemble"]["select_by"] = size
        tree["name"] += f"-t{size}"
    return parse_config(tree)


def _short_single(config: ExperimentConfig, accounting: Accounting, recipes: Sequence[Recipe]) -> ExperimentConfig:
    tree = _tree(config, accounting, recipes, [SINGLE])
    tree["name"] += "-short-single"
    tree["ensemble"]["n_rounds"] = 1
    tree["expert_training"]["epochs"] = SINGLE_EPOCHS
    return parse_config(tree)


def _tree(
    config: ExperimentConfig, accounting: Accounting, recipes: Sequence[Recipe], methods: list[str]
) -> dict[str, Any]:
    """The configuration with these methods and their students, and the trainings and the boosting of an accounting."""
    tree = config.model_dump(mode="json")
    tree["deliver"] = {}  # its students are compared, not used
    tree["students"] = {"recipes": [recipe.model_dump() | {"teachers": methods} for recipe in recipes]}
    options = {name: given for name, given in config.ensemble.method_options.items() if name in methods}
    tree["ensemble"] |= {"methods": methods, "method_options": options, "merges": [], "merge_options": {}}
    if accounting.boosts_as_released:
        tree["ensemble"] |= RELEASED | {"method_options": {}}
    if not accounting.stepped:
        tree["name"] += "-converged"
        return _converged(tree)
    tree["name"] += "-in-order" if accounting.in_order else "-shuffled"
    for section in SECTIONS:
        tree[section] |= {"solver": "adamw", "patience": None, "schedule": "cosine", "epochs": EPOCHS, "shuffle": True}
        tree[section] |= {"warmup_frac": 0.0, "weight_decay": 0.0}
        tree[section]["batch_size"] = min(BATCH_SIZE, tree[section]["batch_size"])
    tree["expert_training"]["shuffle"] = not accounting.in_order
    return tree


def _converged(tree: dict[str, Any]) -> dict[str, Any]:
    """Trainings that end at the optimum where a run accepts that, else where validation data says so."""
    for section in SECTIONS:
        optimum = tree[section] | {"solver": "lbfgs", "patience": None, "dropout": 0.0}
        if _is_valid(tree | {section: optimum}):
            tree[section] = optimum
        else:
            tree[section] |= {"solver": "adamw", "schedule": "constant", "epochs": MOST_EPOCHS, "shuffle": True}
            tree[section]["patience"] = tree[section]["patience"] or PATIENCE
    return tree


def _is_valid(tree: Mapping[str, Any]) -> bool:
    try:
        parse_config(tree)
    except ConfigError:
        return False
    return True
