"""What settings must hold together where answers are words. Each check raises ValueError, with the mend."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ensemw2s.config.experiment import ExperimentConfig


def check_judges(config: "ExperimentConfig") -> None:
    """Judges have what they judge, and who asks them."""
    kind = config.judges.kind
    asking = [r.name for r in config.students.recipes if r.reads_judges]
    if kind == "none" and asking:
        raise ValueError(
            f"students.recipes: {asking[0]} asks judges, and judges.kind is none; set it to trained, principles or "
            "likelihood, or choose another label_model, then.pairs or then.denoise"
        )
    if kind != "none" and not config.is_generation:
        raise ValueError(
            f"judges.kind: {kind} judges answers in words, and {config.task.name} is answered by one of its classes, "
            "whose probabilities say the same; leave judges out"
        )
    if kind == "principles" and config.strong.chat:
        raise ValueError(
            "judges.kind: principles asks in plain text, and strong.chat puts it into a user's turn; set "
            "strong.chat: false, or choose trained or likelihood"
        )
    if config.judges.at_test and not config.generation.samples:
        raise ValueError(
            "judges.at_test: generation.samples is 0, so there are no answers to choose among; set it above 0, or "
            "leave at_test out"
        )


def check_generation(config: "ExperimentConfig") -> None:
    """What holds of answers in words alone."""
    if any(model.is_tfidf for model in config.pool):
        raise ValueError(f"weak: {config.task.name} is answered in words, which tf-idf cannot write; leave it out")
    if vectors := [name for name, model in config.models if model.is_features]:
        raise ValueError(
            f"{vectors[0]}.model: {config.task.name} is answered in words, which vectors cannot write; "
            "give a language model"
        )
    if len(config.pool) > 1 and config.generation.boost_unit == "token":
        raise ValueError(
            "generation.boost_unit: the members of a pool share no tokens that boosting could weigh; choose "
            "`sequence`, whole answers"
        )
    if config.task.votes is not None:
        raise ValueError(
            f"task.votes: {config.task.name} is answered in words, and votes are for classes; leave it out"
        )
    for name in ("expert_training", "student_training"):
        if getattr(config, name).class_weights != "none":
            raise ValueError(f"{name}.class_weights: {config.task.name} is answered in words; leave it out")
    for name, model in config.models:
        if model.adapter == "head":
            raise ValueError(f"{name}.adapter: {config.task.name} is answered in words; choose `top`, `lora` or `full`")
        new_tokens = config.generation.decoding.max_new_tokens
        if new_tokens != "auto" and model.max_length <= new_tokens:
            raise ValueError(
                f"{name}.max_length ({model.max_length}) leaves no room for a prompt before "
                f"generation.decoding.max_new_tokens ({new_tokens})"
            )
    if config.generation.answer_by == "choices" and not config.task.has_options:
        raise ValueError(f"generation.answer_by: the questions of {config.task.name} have no options; choose `decode`")
    if config.generation.answer_by == "choices" and config.generation.samples:
        raise ValueError(
            f"generation.samples ({config.generation.samples}) has no part in answer_by: choices, which scores every "
            "option; leave it out"
        )
    if config.generation.restart and not config.task.needs_decoding:
        raise ValueError(
            f"generation.restart: it takes back lines of a worked solution, and {config.task.name} is answered "
            "without one; set task.worked: true where the task has it (gsm8k, reasoning), or leave restart out"
        )
    if config.generation.answer_by == "choices" and (then := [r.name for r in config.students.recipes if r.then]):
        raise ValueError(
            f"students.recipes: {then[0]} draws answers for its second lesson, and answer_by: choices takes one of "
            "the options; choose answer_by: decode, or leave `then` out"
        )
    if len(config.pool) > 1 and config.ensemble.vote == "log":
        raise ValueError(
            "ensemble.vote: the members of a pool vote on whole answers, and have no distributions over the same "
            "tokens whose logarithms could be averaged; choose `soft` or `hard`"
        )
    if len(config.pool) == 1 and config.ensemble.vote == "hard":
        raise ValueError("ensemble.vote: next-token distributions are mixed; choose `soft` or `log`")
    for recipe in config.students.recipes:
        recipe.check_generation()
        if recipe.learns_mixtures:
            _check_mixtures(config, recipe.name)


def _check_mixtures(config: "ExperimentConfig", name: str) -> None:
    """Raises ValueError where there is no distribution over the student's tokens that a recipe could learn."""
    mend = "choose labels: hard, which learns the texts"
    first, *others = config.pool
    if others:
        raise ValueError(
            f"students.recipes: {name} learns probabilities of each token, and the members of a pool vote on whole "
            f"answers; {mend}"
        )
    if config.generation.answer_by == "choices":
        raise ValueError(
            f"students.recipes: {name} learns probabilities of each token that is written, and answer_by: choices "
            f"writes none; {mend}"
        )
    if first.chat != config.strong.chat:
        raise ValueError(
            f"students.recipes: {name} learns probabilities of each token, and an answer in a chat turn "
            f"(weak.chat: {str(first.chat).lower()}, strong.chat: {str(config.strong.chat).lower()}) has "
            f"others; set both alike, or {mend}"
        )
