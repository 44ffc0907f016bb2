"""What settings must hold together: of models, trainings and tests. Each check raises ValueError, with the mend."""

from typing import TYPE_CHECKING

from ensemw2s.config.training import TrainConfig

if TYPE_CHECKING:
    from ensemw2s.config.experiment import ExperimentConfig


def check_solvers(config: "ExperimentConfig") -> None:
    """A solver that is named can train what it shall train."""
    for role, model in config.models:
        name = "student_training" if role == "strong" else "expert_training"
        training: TrainConfig = getattr(config, name)
        if training.solver != "lbfgs":
            continue
        if not model.is_linear or training.dropout:
            raise ValueError(
                f"{name}.solver: lbfgs fits a linear head; set {role}.adapter: head, {role}.head_hidden: 0 and "
                f"{name}.dropout: 0, or choose auto or adamw"
            )
    stepped = [recipe.name for recipe in config.students.recipes if not recipe.has_optimum]
    if config.student_training.solver == "lbfgs" and stepped:
        raise ValueError(
            f"student_training.solver: lbfgs has no optimum to find of {stepped[0]} (students.recipes): its loss "
            "is not convex, or its samples come in an order; choose auto, which takes steps there, or adamw"
        )


def check_depths(config: "ExperimentConfig") -> None:
    """Depths of members lie within the weak model."""
    first, *others = config.pool
    depth = first.n_layers
    if not others and depth is not None and (message := config.ensemble.beyond(depth)):
        raise ValueError(message)


def check_in_context(config: "ExperimentConfig") -> None:
    """Weak labels can be shown to the strong model."""
    n = config.students.in_context
    if n is None:
        return
    if config.is_generation:
        raise ValueError(
            f"students.in_context: {config.task.name} is answered in words, and labels are shown for classes; leave "
            "it out"
        )
    if config.strong.is_features:
        raise ValueError(
            f"students.in_context: labels are shown in a prompt, and {config.strong.model} reads none; leave it out"
        )
    if config.strong.chat:
        raise ValueError(
            "students.in_context: strong.chat puts the header of a user's turn before what is shown; set "
            "strong.chat: false, or leave in_context out"
        )
    if n > config.split.n_hard_unlabelled:
        raise ValueError(
            f"students.in_context ({n}) exceeds split.n_hard_unlabelled ({config.split.n_hard_unlabelled}), whose "
            "labels are shown; lower it"
        )


def check_perturbed(config: "ExperimentConfig") -> None:
    """Tests, and examples to learn, can be worded otherwise."""
    task = config.task
    for section, settings in (("evaluation", config.evaluation), ("students.augment", config.students.augment)):
        if settings is None:
            continue
        if settings.perturb and not task.may_be_reworded:
            raise ValueError(
                f"{section}.perturb: {settings.perturb[0]} may change the answer of a {task.name} question, which "
                "its exact words decide; leave it out"
            )
        if settings.perturb_columns and not (settings.perturb and task.has_columns):
            lacking = f"{section}.perturb names nothing to do" if task.has_columns else f"{task.name} has no columns"
            raise ValueError(f"{section}.perturb_columns: {lacking}; leave it out")


def check_pool(config: "ExperimentConfig") -> None:
    """A pool, or its one member, can do what the settings ask of it."""
    if config.strong.is_tfidf:
        raise ValueError("strong.model: tf-idf is a member of a pool of weak models; give a pretrained model")
    first, *others = config.pool
    if first.is_tfidf and config.difficulty.source != "column":
        raise ValueError(
            f"weak.0: difficulty.source ({config.difficulty.source}) is found by the first of the weak models, and "
            "tf-idf cannot; put a pretrained model first"
        )
    if config.ensemble.prior == "pretrained" and first.is_features and not others:
        raise ValueError(
            f"ensemble.prior: pretrained is the error of the weak model before training, and {first.model} says "
            "nothing untrained; choose chance, unigram or a number"
        )
    if config.ensemble.prior == "pretrained" and (others or first.is_tfidf):
        raise ValueError(
            "ensemble.prior: pretrained is the error of the one weak model before training, and `weak` is a pool; "
            "choose chance, unigram or a number"
        )


def check_one_of_many(config: "ExperimentConfig") -> None:
    """What needs experts of one weak model: merging them, and a gate over them."""
    merges, is_gated = config.ensemble.merges, config.ensemble.vote == "gated"
    first, *others = config.pool
    kind = f"a pool of {len(config.pool)}" if others else config.pool[0].model
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
    if is_gated and config.is_generation:
        raise ValueError(
            f"ensemble.vote: gated is for classes, and {config.task.name} is answered in words; choose `soft` or `log`"
        )
