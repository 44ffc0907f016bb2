"""What every task answers to the rest of the package, and the settings of difficulty and of the split."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SerializeAsAny,
    model_validator,
)

from ensemw2s.config.base import Count, Fraction, Frozen
from ensemw2s.errors import ConfigError
from ensemw2s.examples import Example, Task, Wording
from ensemw2s.tables import TASKS

DEFAULT_TASK = "geo-facts"


class TaskSettings(Frozen, ABC):
    """Settings of one task, with its loader and its stand-in.

    A task is one file that defines a subclass. Its fields are the settings that this task has; its name in the table
    `tables.TASKS` is the value of `name`. No other module knows the tasks by name: what it must know of one, it asks of
    the attributes here.
    """

    name: str
    """The task, by its name in the table of tasks."""
    votes: str | None = None
    """Tasks answered by a class: a file of votes of outside voters (people, rules, services) with the columns id,
    voter, and label or probabilities. On unlabelled examples they join the models' labels; on labelled easy ones they
    tell how far each voter is to be believed; on tests they are left out."""

    is_free: ClassVar[bool] = False
    """Whether questions are answered by a text, and not by one of a few classes."""
    has_options: ClassVar[bool] = False
    """Whether each question has its own list of possible answers (`Example.choices`). Tasks answered by a text."""
    has_unlabelled: ClassVar[bool] = False
    """Whether `load` gives the hard questions apart, without difficulty (`Task.unlabelled`)."""
    needs_decoding: ClassVar[bool] = False
    """Whether texts other than the true answer are right, too, such as a worked solution whose last number is right.
    Models then write their answers, which are checked; otherwise the probability of the true answer suffices."""
    reads: ClassVar[Literal["text", "pictures", "both"]] = "text"
    """What prompts are: text, one picture each, or text with pictures in it. It picks the tiny model of `--tiny`."""
    has_columns: ClassVar[bool] = False
    """Whether prompts are made of columns that the user knows by name."""
    may_be_reworded: ClassVar[bool] = True
    """Whether a question that is worded a little otherwise keeps its answer."""
    question_between: ClassVar[tuple[str, tuple[str, ...]]] = ("Question: ", ("\nOptions:", "\nAnswer:"))
    """What stands before the question in a prompt, and what may stand after it: neither is ever worded otherwise."""
    younger: ClassVar[tuple[str, ...]] = ("votes",)
    template: ClassVar[str] = "{{ prompt }}"
    """The Jinja template by which an exported model makes a prompt of a row; by default the row's column `prompt`."""

    @property
    def has_votes(self) -> bool:
        """Whether outside voters take part."""
        return self.votes is not None

    @property
    def is_ordered(self) -> bool:
        """Whether the classes have an order, so that an answer can be nearly right."""
        return False

    @abstractmethod
    def load(self) -> Task:
        """Read or make the examples.

        Raises:
            DataError: the data are missing or malformed; the message names the place and the mend.
        """

    def wordings(
        self, examples: Sequence[Example], columns: Sequence[str], section: str = "evaluation"
    ) -> list[Wording]:
        """What of each example's prompt may be worded otherwise: by default its question, without options.

        Args:
            columns: with `has_columns`, those that may be changed; empty where the prompt has one alone.
            section: of the settings that name them, for what is raised.

        Raises:
            DataError: there is no such column, or it is not clear which ones may be changed.
        """
        before, after = self.question_between
        return [_question(example.prompt, before, after) for example in examples]

    def stand_in(self) -> dict[str, str]:
        """Small generated files in the form of the task's own, by name, for `--tiny`; empty where `load` needs none.

        Raises:
            DataError: settings of the task cannot be read, such as a malformed template.
        """
        return {}

    def small(self, folder: Path) -> "TaskSettings":
        """These settings for `--tiny`: reading the stand-ins in `folder`, or making a few hundred examples.

        By default a setting `path`, where there is one, becomes the folder.
        """
        return self.model_copy(update={"path": str(folder)}) if "path" in type(self).model_fields else self


def _question(prompt: str, before: str, after: Sequence[str]) -> Wording:
    start = len(before) if prompt.startswith(before) else 0
    ends = [place for mark in after if (place := prompt.find(mark, start)) >= 0]
    end = min(ends, default=len(prompt))
    return Wording((prompt[start:end],), lambda texts: prompt[:start] + "".join(texts) + prompt[end:])


def task_class(settings: Mapping[str, Any]) -> type[TaskSettings]:
    """The class of the task that `name` picks among these settings.

    Raises:
        ValueError: no task has this name.
        ConfigError: an installed package adds something else under this name, or it cannot be loaded.
    """
    name = settings.get("name", DEFAULT_TASK)
    if not isinstance(name, str) or name not in TASKS:
        raise ValueError(f"there is no task {name!r:.200}; task.name is one of {', '.join(TASKS)}")
    kind = TASKS[name]
    if not (isinstance(kind, type) and issubclass(kind, TaskSettings)):
        raise ConfigError(
            f"{TASKS.group}: {name!r} is {kind!r:.80}, no subclass of ensemw2s.config.TaskSettings; mend or uninstall "
            "the package that adds it"
        )
    return kind


def read_task(value: Any) -> Any:
    """A mapping of settings as an object of the task's own class; anything else as it is."""
    return task_class(value).model_validate({"name": DEFAULT_TASK, **value}) if isinstance(value, Mapping) else value


AnyTask = Annotated[SerializeAsAny[TaskSettings], BeforeValidator(read_task)]
"""The section `task` of a configuration."""


class DifficultyConfig(Frozen):
    source: Literal["column", "entropy", "margin", "p_true"] = "column"
    """`column`: the task's own; `entropy`, `margin`: the weak model's cross-fitted, label-free uncertainty;
    `p_true`: its cross-fitted probability of the true label, which reads hard labels (the report says so). In words,
    per token: uncertainty along its own greedy answer, log-probability of the true one."""
    n_folds: Annotated[int, Field(ge=2)] = 5
    n_labelled: Count = 500
    """entropy, margin: examples whose labels train the raters; they take no further part in the run."""


class SplitConfig(Frozen):
    seed: int = 0
    """Of the split; the seeds of training are `seeds`."""
    kind: Literal["difficulty", "random"] = "difficulty"
    """`random` deals all examples alike, as in plain weak-to-strong experiments: the easy pool is the labelled half,
    the hard pool the unlabelled one, and the two tests are samples of one distribution."""
    easy_below: Fraction = 0.4
    """Quantile of difficulty: examples below it are the easy side."""
    hard_above: Fraction = 0.6
    """Quantile of difficulty: examples above it are the hard side."""
    n_easy_pool: Count = 1600
    """Labelled easy examples, of which each seed draws its own training and validation part."""
    n_easy_train: Count = 800
    n_easy_val: Count = 400
    n_hard_pool: Count = 1600
    """Hard examples without labels, of which each seed draws its own part."""
    n_hard_unlabelled: Count = 1200
    n_id_test: Count = 800
    n_ood_test: Count = 800

    @model_validator(mode="after")
    def _fits(self) -> "SplitConfig":
        if self.easy_below > self.hard_above:
            raise ValueError(f"easy_below ({self.easy_below}) must not exceed hard_above ({self.hard_above})")
        if self.n_easy_train + self.n_easy_val > self.n_easy_pool:
            raise ValueError(
                f"n_easy_train + n_easy_val ({self.n_easy_train + self.n_easy_val}) exceeds n_easy_pool "
                f"({self.n_easy_pool})"
            )
        if self.n_hard_unlabelled > self.n_hard_pool:
            raise ValueError(f"n_hard_unlabelled ({self.n_hard_unlabelled}) exceeds n_hard_pool ({self.n_hard_pool})")
        return self
