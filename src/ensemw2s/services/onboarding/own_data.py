"""From a user's files to a configuration that is valid and says why it is as it is: `ensemw2s init`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ensemw2s.config import ExperimentConfig, ModelConfig, parse_config
from ensemw2s.data.load import load_task
from ensemw2s.data.own import guess
from ensemw2s.data.own.labels import merged_classes
from ensemw2s.data.own.leaks import leaking
from ensemw2s.data.own.rows import labels_of, option_named
from ensemw2s.data.readers.load import Row, read_rows
from ensemw2s.data.splits import Split
from ensemw2s.data.tasks.files import Files
from ensemw2s.errors import ConfigError, DataError, ModelError
from ensemw2s.examples import Task
from ensemw2s.models.loading.fetch import KNOWN
from ensemw2s.pipeline.prepare import check
from ensemw2s.reading import load_yaml
from ensemw2s.services.onboarding.lengths import check_lengths
from ensemw2s.services.onboarding.models import find_model, suggestions
from ensemw2s.services.onboarding.own_yaml import left_out, to_yaml
from ensemw2s.storage.files import write_atomic

Ask = Callable[[str, str | None], str]
"""Puts a question with a proposal to the user; without a proposal it insists on an answer."""
T = TypeVar("T")
MOST_SUGGESTED = 6
"""Models that a question names."""
SPLITS = {"path": "split", "unlabelled": "unlabelled_split", "test": "test_split"}
"""Of each setting that names a file, the setting of its split."""
LARGER = "Qwen/Qwen2.5-0.5B"
"""Proposed as the strong model where nothing on this machine suggests another."""


@dataclass(frozen=True)
class Wishes:
    """What `ensemw2s init` was told."""

    labelled: str | None = None
    unlabelled: str | None = None
    test: str | None = None
    prompt: str | None = None
    answer: str | None = None
    weak: str | None = None
    strong: str | None = None


@dataclass(frozen=True)
class Written:
    """A configuration that is valid, and what its user must hear."""

    config: ExperimentConfig
    split: Split | None
    """As `check` has it."""
    notes: tuple[str, ...]
    """Of the data, and of columns that the prompt leaves out."""


def write_config(
    wishes: Wishes,
    output: Path,
    *,
    ask: Ask | None,
    tell: Callable[[str], None] = lambda refusal: None,
    accept: bool = False,
    force: bool = False,
) -> Written:
    """Complete the wishes, check the data, and write a commented configuration.

    Args:
        wishes: what is given.
        output: the YAML file; its name without the suffix is the run's.
        ask: how the user is asked for the rest, each question until its answer can be used; None where nobody can be.
        tell: how the user is told why an answer cannot be used.
        accept: with nobody to ask, take the answer's column and the prompt that the columns suggest.
        force: replace a file that is there.

    Raises:
        ConfigError: something is not given and nobody can be asked; the file is there.
        DataError: as the loaders and the split say, there are too few examples, or one is longer than a model reads.
        ModelError: there is no such model, or one that is on this machine cannot be read.
    """
    if output.exists() and not force:
        raise ConfigError(f"{output}: there is such a file; choose another --output, or replace it with --force")
    names = ["labelled", "weak", "strong", *([] if accept else ["answer", "prompt"])]
    missing = [f"--{name}" for name in names if getattr(wishes, name) is None]
    if ask is None and missing:
        raise ConfigError(
            f"init: {', '.join(missing)} must be given where nobody can be asked (--yes takes what the columns suggest "
            "for --answer and --prompt)"
        )
    settled = _Questions(wishes, ask, tell).answered
    files: dict[str, list[Row]] = {}

    def read(name: str) -> Callable[[str], str | None]:
        def check(path: str) -> str | None:
            if path:
                files[name] = read_rows(path, split=Files.model_fields[SPLITS[name]].default)
            return path or None

        return check

    path = settled("labelled", f"Labelled data ({_KINDS})", read("path"))
    unlabelled = settled("unlabelled", "Unlabelled data, the harder questions (empty: none)", read("unlabelled"), "")
    test = None
    if unlabelled or wishes.test:
        test = settled("test", "Labelled test data of the unlabelled kind (empty: none)", read("test"), "")
    task = Files(path=str(path), unlabelled=unlabelled, test=test)
    tests = [files["test"]] if "test" in files else []
    proposal = guess.guess_answer(files["path"], tests, files.get("unlabelled", []))
    task = settled("answer", "Column of the answer", lambda answer: _with_form(task, files, answer), proposal)
    leaks = _leaking(task, files)
    names_only = [task.answer, *task.options, *leaks, *([task.id] if task.id else [])]
    is_free = task.answer_form == "free"
    proposal = guess.guess_prompt(list(files.values()), names_only, task.options, answer=task.answer, is_free=is_free)

    def prompted(prompt: str) -> tuple[Files, Task]:
        prompt = prompt if wishes.prompt is not None else prompt.replace(r"\n", "\n")
        with_prompt = task.model_copy(update={"prompt": prompt})
        return with_prompt, load_task(with_prompt)

    hint = f" ({left_out(task, leaks)})" if leaks else ""
    question = r"Prompt, a Jinja template over the columns (\n is a new line)"
    task, loaded = settled("prompt", question, prompted, _escaped(proposal), hint)
    weak, strong, absent = _models(settled, is_free=is_free)
    text = to_yaml(output.stem, task, loaded, weak, strong, leaks)
    config = parse_config(load_yaml(text, str(output)), where=str(output))
    checked, split = check(config)
    _, lengths = check_lengths(config, checked, split)
    write_atomic(output, text)
    notes = [left_out(task, leaks)] if leaks else []
    return Written(config, split, (*absent, *notes, *checked.notes, *lengths))


_KINDS = ".json, .jsonl, .csv, .parquet, a datasets folder or hub:OWNER/NAME"


@dataclass(frozen=True)
class _Questions:
    """What must be known, from what is given or from whoever can be asked."""

    wishes: Wishes
    ask: Ask | None
    tell: Callable[[str], None]

    def answered(
        self, name: str, question: str, check: Callable[[str], T], proposal: str | None = None, hint: str = ""
    ) -> T:
        """What `check` makes of an answer; what it refuses is asked for again, where somebody can be asked."""
        wish = getattr(self.wishes, name)
        if wish is not None:
            return check(wish)
        if self.ask is None:
            if proposal is None:
                raise ConfigError(f"init: the columns do not tell --{name}; give it{hint}")
            return check(proposal)
        while True:
            try:
                return check(self.ask(question, proposal))
            except (ConfigError, DataError, ModelError) as refusal:
                self.tell(str(refusal))


def _models(settled: Callable[..., Any], *, is_free: bool) -> tuple[str, str, list[str]]:
    """Names of the weak and the strong model, and what the user must hear of them."""
    notes: list[str] = []

    def found(setting: str) -> Callable[[str], str]:
        def check(name: str) -> str:
            note = find_model(setting, ModelConfig(model=name)).note
            notes.extend([note] if note else [])
            return name

        return check

    names = suggestions(writes=is_free)
    some = f"a hub id, a folder, or {', '.join(names[:MOST_SUGGESTED])}"
    weak = settled("weak", f"Weak model ({some})", found("weak"), names[0])
    stronger = [name for name in names if name != weak]
    proposal = stronger[-1] if stronger and stronger[-1] not in KNOWN else LARGER
    strong = settled("strong", f"Strong model, larger than the weak one ({some})", found("strong"), proposal)
    return weak, strong, notes


def _with_form(task: Files, files: Mapping[str, Sequence[Row]], answer: str) -> Files:
    """The task with the form of its answers, its options and its ids, as the columns suggest."""
    rows = list(files.values())
    changes: dict[str, Any] = {"answer": answer, "id": guess.guess_id(rows)}
    columns = [c for c in guess.shared_columns(rows) if c != answer]
    options = guess.guess_options([row for each in rows for row in each], columns)
    labelled, labels = _labelled(task.model_copy(update=changes), files)
    way = guess.guess_answer_as(labelled, labels, answer, options) if options and labels else None
    if way is not None:
        changes |= {"options": options, "answer_as": way}
    class_of = merged_classes(labels)
    if way is not None or not guess.guess_is_classes([class_of[label] for label in labels]):
        changes["answer_form"] = "free"
    return task.model_copy(update=changes)


def _labelled(task: Files, files: Mapping[str, Sequence[Row]]) -> tuple[list[Row], list[str]]:
    """The rows of the labelled file that have a label, and their labels."""
    found = zip(files["path"], labels_of(files["path"], task), strict=True)
    known = [(row, label) for row, label in found if label is not None]
    return [row for row, _ in known], [label for _, label in known]


def _leaking(task: Files, files: Mapping[str, Sequence[Row]]) -> list[str]:
    """Columns that give the answer away, which no prompt may show."""
    rows, labels = _labelled(task, files)
    answers = labels
    if task.options:
        answers = [
            str(option_named(place, row, label, task)[1]) for (place, row), label in zip(rows, labels, strict=True)
        ]
    columns = [c for c in guess.shared_columns(list(files.values())) if c != task.answer and c not in task.options]
    return leaking([row for _, row in rows], labels, answers, columns)


def _escaped(text: str | None) -> str | None:
    return None if text is None else text.replace("\n", r"\n")
