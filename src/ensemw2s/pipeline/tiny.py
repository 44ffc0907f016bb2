"""The same experiment with everything in it tiny: it ends in seconds, needs no network; its figures mean nothing."""

import sys
from pathlib import Path
from typing import Any

from ensemw2s.config import ExperimentConfig, ModelConfig, canonical_hash
from ensemw2s.ensemble.contexts import WRITTEN
from ensemw2s.ensemble.methods import learning, make_method, n_contexts
from ensemw2s.storage.caches import cached_folder
from ensemw2s.storage.files import cache_home

SIZES = {
    "n_easy_pool": 28,
    "n_easy_train": 20,
    "n_easy_val": 8,
    "n_hard_pool": 16,
    "n_hard_unlabelled": 12,
    "n_id_test": 8,
    "n_ood_test": 12,
}
WEAK_LAYERS, STRONG_LAYERS = 2, 3
DEMONSTRATIONS = 2
"""Of a member that reads any: a pool of twenty-eight has none to spare, and is made larger for them."""
TRAINING = {"epochs": 4, "batch_size": 10, "micro_batch_size": None, "learning_rate": 0.01, "warmup_frac": 0.1}
"""Enough to learn twenty examples by heart: an expert worse than chance would end the run."""


def tiny(config: ExperimentConfig) -> ExperimentConfig:
    """The configuration with its models replaced by one random network, its data by generated ones of the same form.

    Kept is what decides which code runs: the task's loader, template and classes, the kind of split, the source of
    difficulty, adapters, methods, losses, recipes, the vote. The data are written once below `$ENSEMW2S_HOME`.

    Raises:
        DataError: the prompt template is malformed.
        ModelError: the data cannot be written.
    """
    files = config.task.stand_in()
    folder = cache_home() / "tiny" / canonical_hash(files)[:16]

    def make(temporary: Path) -> None:
        for name, text in files.items():
            (temporary / name).write_text(text, encoding="utf-8")

    if files:
        cached_folder(folder, make, echo=lambda text: print(text, file=sys.stderr))
    tree = config.model_dump()
    tree["weak"] = [
        model.model_dump() | ({} if model.is_tfidf else _model(model, WEAK_LAYERS)) for model in config.pool
    ]
    changes: dict[str, dict[str, Any]] = {
        "task": config.task.small(folder).model_dump(),
        "difficulty": {"n_folds": 2, "n_labelled": 40},
        "split": SIZES,
        "strong": _model(config.strong, STRONG_LAYERS),
        "expert_training": TRAINING,
        "student_training": TRAINING,
        "ensemble": {"n_rounds": min(config.ensemble.n_rounds, 2), "n_folds": 2, "layer_range": None},
    }
    for section, values in changes.items():
        tree[section] |= values
    n = n_contexts(config.ensemble)
    if n and config.ensemble.context.kind == "demonstrations":
        tree["ensemble"]["context"] = config.ensemble.context.model_copy(update={"n": DEMONSTRATIONS})
        tree["split"]["n_easy_pool"] += 3 * DEMONSTRATIONS * min(n, 2)
    if config.students.in_context:
        tree["students"]["in_context"] = min(config.students.in_context, DEMONSTRATIONS)
        tree["strong"]["n_layers"] = None
    if n and config.ensemble.context.kind in WRITTEN:  # by a whole model
        (tree["strong"] if config.ensemble.context.written_by == "strong" else tree["weak"][0])["n_layers"] = None
    if learning(config.ensemble).methods != config.ensemble.methods:
        tree["weak"][0]["n_layers"] = None  # what is asked untrained is asked whole
    tree["task"]["votes"] = tree["students"]["people"] = None  # their items are not among the generated ones
    if config.task.votes is not None:  # with them, recipes that leave them out would be others twice
        recipes = config.students.recipes
        kept = [r for r in recipes if r.outside_votes] or [recipes[0].model_copy(update={"outside_votes": True})]
        tree["students"]["recipes"] = [recipe.model_dump() for recipe in kept]
    if len(config.pool) == 1:
        tree["generation"]["boost_unit"] = "token"  # no whole answer would be right
    elif config.is_generation:
        _without_boosting(tree, config)
    tree["generation"]["samples"] = min(config.generation.samples, 3)
    judges = config.judges
    few = {"n_judges": min(judges.n_judges, 2), "n_negatives": min(judges.n_negatives, 2)}
    tree["judges"] = judges.model_dump() | few if judges.kind != "none" else {}
    for recipe in tree["students"]["recipes"]:
        if recipe.get("then") is not None:
            recipe["then"]["epochs"] = None  # as many as the first lesson has here
    decoding = tree["generation"]["decoding"]
    decoding["max_new_tokens"] = 8
    tree |= {"name": f"{config.name}-tiny", "seeds": config.seeds[:1], "tracking": config.tracking}
    return ExperimentConfig.model_validate(tree)


def _without_boosting(tree: dict[str, Any], config: ExperimentConfig) -> None:
    """Boosting of a pool in words follows whole answers, of which no tiny model gets one right: there is nothing to
    boost."""
    left = [m for m in config.ensemble.methods if not make_method(m, config.ensemble, config.generation).needs_errors]
    there = left or ["independent"]
    tree["ensemble"]["methods"] = there
    for recipe in tree["students"]["recipes"]:
        recipe["teachers"] = [teacher for teacher in recipe["teachers"] if teacher in ("self", *there)]


def _model(config: ModelConfig, n_layers: int) -> dict[str, Any]:
    """A cut of the random network with the same adapter; it reads bytes and knows no chat template."""
    return {
        "model": "tiny",
        "revision": None,
        "trust_remote_code_from": None,
        "n_layers": n_layers,
        "head_hidden": min(config.head_hidden, 8),
        "top_layers": 1,
        "lora_rank": min(config.lora_rank, 2),
        "lora_layers": None if config.lora_layers is None else 1,
        "chat": False,
        "max_length": 1024,
        "dtype": "float32",
    }
