"""Everything that must be right before work starts: the task, its split, both models, and what they read."""

from collections.abc import Callable
from dataclasses import replace

from ensemw2s.config import ExperimentConfig
from ensemw2s.data.augment import easy_copies
from ensemw2s.data.load import load_task
from ensemw2s.data.people import read_people
from ensemw2s.data.perturb import perturbed_tests
from ensemw2s.data.splits import Split, make_split
from ensemw2s.data.votes import placed
from ensemw2s.ensemble.contexts import exportable
from ensemw2s.ensemble.methods import check_methods
from ensemw2s.ensemble.rate import learners
from ensemw2s.errors import ConfigError, DataError
from ensemw2s.examples import Task
from ensemw2s.forms.base import TaskForm
from ensemw2s.forms.classification.form import ClassModels, class_form
from ensemw2s.forms.classification.prepare import ClassPrepared
from ensemw2s.forms.generation.form import AnswerModels, answer_form
from ensemw2s.forms.generation.prepare import AnswerPrepared
from ensemw2s.forms.kinds import check_kinds
from ensemw2s.forms.prepare import rated_by_chance
from ensemw2s.forms.prepared import Prepared
from ensemw2s.storage.store import Store


def check(config: ExperimentConfig) -> tuple[Task, Split | None]:
    """Read and validate the task, and the split where its difficulty does not need the weak model. No model is loaded.

    Raises:
        ConfigError: an ensemble method cannot be used with these models.
        DataError: as the loaders and the split say; `students.people` cannot be used.
    """
    check_methods(config)
    if not exportable(config.ensemble):
        raise ConfigError(
            f"ensemble.methods: members of {' and '.join(config.ensemble.methods)} read {config.ensemble.context.kind} "
            "that are written for each question of the run, so no ensemble of it could be exported; add a method that "
            "reads the question alone, such as single"
        )
    task = load_task(config.task)
    people_of(config, task)
    if config.difficulty.source == "column":
        split = make_split(task, config.split)
        perturbed_tests(config.task, split, config.evaluation)
        if config.students.augment is not None:
            easy_copies(config.task, split, split.draw(config.seeds[0]), config.students.augment)
        return _noted(task, split, config), split
    learners([e.group_id for e in task.examples], config.difficulty, config.split.seed)
    return task, None


def people_of(config: ExperimentConfig, task: Task) -> dict[str, str]:
    """The answers of `students.people`, valid for the task. Raises DataError."""
    return {} if config.students.people is None else read_people(config.students.people, task)


def prepare(
    config: ExperimentConfig, store: Store, on_tokens: Callable[[str, int], None], *, is_plan: bool = False
) -> ClassPrepared | AnswerPrepared:
    """Load, rate, split, encode and cache activations.

    Args:
        on_tokens: told of a model's name and how many tokens its trunk has read.
        is_plan: what the weak model shall rate is given difficulties by chance, because rating is work.

    Raises:
        DataError, ModelError, ConfigError: each before any training has begun.
    """
    task, split = check(config)
    people = people_of(config, task)
    check_kinds(config, (*task.examples, *task.unlabelled, *task.test))
    if config.is_generation:
        models = AnswerModels(config, store, on_tokens)
    else:
        models = ClassModels(config, task, store, on_tokens)
    if split is None:
        task = rated_by_chance(task, config) if is_plan else models.rated(task)
        split = make_split(task, config.split)
        task = _noted(task, split, config)
    sealed = _sealed(task)
    prepared = models.prepared(sealed, split, people)
    return _perturbed(config, models, prepared, lambda other: models.prepared(sealed, other, people))


def _perturbed(
    config: ExperimentConfig,
    models: ClassModels | AnswerModels,
    prepared: ClassPrepared | AnswerPrepared,
    on: Callable[[Split], Prepared],
) -> ClassPrepared | AnswerPrepared:
    """With the perturbed tests, of which each prompt can be read, as that of each copy. Raises DataError, naming it."""
    split, augment = prepared.split, config.students.augment
    made = perturbed_tests(config.task, split, config.evaluation)
    others = [("evaluation", tests.name, tests.laid_over(split)) for tests in made]
    if augment is not None:
        copies = ((seed, easy_copies(config.task, split, split.draw(seed), augment)) for seed in config.seeds)
        others += [("students.augment", f"copies of seed {seed}", made.laid_behind(split)) for seed, made in copies]
    for section, what, other in others:
        try:
            models.check(prepared, other, section)  # pyright: ignore  (these models prepared it)
        except DataError as error:
            raise DataError(f"{section}.perturb: {what}: {error}") from None
    return replace(prepared, perturbed=made, on=on) if others else prepared


def form_of(prepared: Prepared) -> TaskForm:
    """Classes or generation."""
    if isinstance(prepared, AnswerPrepared):
        return answer_form(prepared)
    assert isinstance(prepared, ClassPrepared)
    return class_form(prepared)


def _noted(task: Task, split: Split, config: ExperimentConfig) -> Task:
    """The task with notes on a user's votes that no part of the split has a use for."""
    if task.votes is None or config.task.votes is None:  # votes of the task's own raters are on all of its examples
        return task
    return replace(task, notes=(*task.notes, *placed(task.votes, split).notes))


def _sealed(task: Task) -> Task:
    """The task without its examples and without a table of their answers: these are in the split, under its seal."""
    choices = () if task.answer_form == "free" else task.choices
    return replace(task, examples=(), unlabelled=(), test=(), choices=choices)
