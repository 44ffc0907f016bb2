"""From a user's files to a configuration that is valid and says why it is as it is: `ensemw2s init`."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ensemw2s.config import ExperimentConfig, TaskConfig, parse_config
from ensemw2s.data import guess
from ensemw2s.data.load import Row, read_rows
from ensemw2s.data.sides import sides_by_file
from ensemw2s.data.splits import Split
from ensemw2s.data.tasks import load_task
from ensemw2s.errors import ConfigError, DataError
from ensemw2s.experiment.files import write_atomic
from ensemw2s.experiment.prepare import check
from ensemw2s.reading import load_yaml
from ensemw2s.types import Task

Ask = Callable[[str, str | None], str]
"""Puts a question with a proposal to the user; without a proposal it insists on an answer."""
MIN_LABELLED = 20
MOST = {"easy_pool": 4000, "hard_pool": 8000, "id_test": 1000, "ood_test": 2000}
"""By default no part is larger: it would cost more time than it narrows the intervals."""
MAX_ANSWER_TOKENS = 256
TRAINING = {
    "choice": [],
    "free": [
        "expert_training: {epochs: 4, batch_size: 16, learning_rate: 1.0e-3}",
        "student_training: {epochs: 4, batch_size: 16, learning_rate: 1.0e-3}",
        "ensemble: {n_rounds: 4, prior: pretrained, shrinkage: 0.3, select_by: accuracy}",
        "students: {recipes: [{labels: hard}, {labels: hard, with_easy: true}]}",
    ],
}
"""For answers in words; classes have the defaults."""


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


def write_config(
    wishes: Wishes, output: Path, *, ask: Ask | None, accept: bool = False, force: bool = False
) -> tuple[ExperimentConfig, Split | None]:
    """Complete the wishes, check the data, and write and return a commented configuration; its split as `check` has it.

    Args:
        wishes: what is given.
        output: the YAML file; its name without the suffix is the run's.
        ask: how the user is asked for the rest; None where nobody can be.
        accept: with nobody to ask, take the answer's column and the prompt that the columns suggest.
        force: replace a file that is there.

    Raises:
        ConfigError: something is not given and nobody can be asked; the file is there.
        DataError: as the loaders and the split say, or there are too few examples.
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

    def told(name: str, question: str, proposal: str | None = None) -> str:
        wish = getattr(wishes, name)
        if wish is not None:
            return wish
        if ask is not None:
            return ask(question, proposal)
        if proposal is None:
            raise ConfigError(f"init: the columns do not tell --{name}; give it")
        return proposal

    labelled = told("labelled", "Labelled data (.json, .jsonl, .csv, .parquet, a datasets folder or hub:OWNER/NAME)")
    unlabelled = told("unlabelled", "Unlabelled data, the harder questions (empty: none)", "")
    test = told("test", "Labelled test data of the unlabelled kind (empty: none)", "") if unlabelled else wishes.test
    task = TaskConfig(name="files", path=labelled, unlabelled=unlabelled or None, test=test or None)
    files = _rows_of(task)
    tests = [files["test"]] if "test" in files else []
    proposal = guess.guess_answer(files["path"], tests, files.get("unlabelled", []))
    task = _with_form(task, files, told("answer", "Column of the answer", proposal))
    names_only = [task.answer, *task.options, *([task.id] if task.id else [])]
    is_free = task.answer_form == "free"
    proposal = guess.guess_prompt(list(files.values()), names_only, task.options, is_free=is_free)
    prompt = told("prompt", r"Prompt, a Jinja template over the columns (\n is a new line)", _escaped(proposal))
    prompt = prompt if wishes.prompt is not None else prompt.replace(r"\n", "\n")
    task = task.model_copy(update={"prompt": prompt})
    weak = told("weak", "Weak model (hub id, local folder, or smollm2-135m)")
    strong = told("strong", "Strong model")
    text = to_yaml(output.stem, task, load_task(task), weak, strong)
    config = parse_config(load_yaml(text, str(output)), where=str(output))
    _, split = check(config)
    write_atomic(output, text)
    return config, split


def to_yaml(name: str, config: TaskConfig, task: Task, weak: str, strong: str) -> str:
    """The configuration as commented text, with sizes from the numbers of examples.

    Raises:
        DataError: there are too few labelled examples, or nothing tells easy questions from hard ones.
    """
    examples = (*task.examples, *task.unlabelled, *task.test)
    is_free = task.answer_form == "free"
    longest = max(len(e.prompt.encode()) for e in examples)
    longest_answer = max(len(e.answer.encode()) for e in examples if e.answer is not None)
    new_tokens = min(_round_up(longest_answer + 2, 8), MAX_ANSWER_TOKENS) if is_free else 0
    max_length = _round_up(longest + longest_answer + new_tokens + 64, 64)
    adapter = ", adapter: top, top_layers: 2" if is_free else ""
    same = "  # one model twice: cut this one with n_layers, or it is no weaker" if weak == strong else ""
    return "\n".join(
        [
            "# Written by `ensemw2s init`. Every setting and its meaning: src/ensemw2s/settings.py",
            f"name: {_quoted(name)}",
            "seeds: [0, 1, 2]  # each draws its own examples from the pools; fewer cost less and say less",
            "task:",
            *(f"  {line}" for line in _task_lines(config, task)),
            *_split_lines(config, task),
            f"# No text has more tokens than bytes; the longest prompt has {longest:,}. A longer one is refused.",
            f"weak: {{model: {_quoted(weak)}{adapter}, max_length: {max_length}}}{same}",
            f"strong: {{model: {_quoted(strong)}{adapter}, max_length: {max_length}}}",
            *TRAINING[task.answer_form],
            *([_generation_line(config, new_tokens)] if is_free else []),
            "",
        ]
    )


def _rows_of(task: TaskConfig) -> dict[str, list[Row]]:
    """Setting to the rows of its file."""
    splits = {"path": task.split, "unlabelled": task.unlabelled_split, "test": task.test_split}
    found = {name: (getattr(task, name), split) for name, split in splits.items()}
    return {name: read_rows(path, split=split) for name, (path, split) in found.items() if path}


def _with_form(task: TaskConfig, files: Mapping[str, Sequence[Row]], answer: str) -> TaskConfig:
    """The task with the form of its answers, its options and its ids, as the columns suggest."""
    rows = list(files.values())
    changes: dict[str, Any] = {"answer": answer, "id": guess.guess_id(rows)}
    columns = [c for c in guess.shared_columns(rows) if c != answer]
    options = guess.guess_options([row for each in rows for row in each], columns)
    answers = [str(row.get(answer)) for _, row in files["path"]]
    way = guess.guess_answer_as(files["path"], answer, options) if options and answer in files["path"][0][1] else None
    if way is not None:
        changes |= {"options": options, "answer_as": way}
    if way is not None or not guess.guess_is_classes(answers):
        changes["answer_form"] = "free"
    return task.model_copy(update=changes)


def _task_lines(config: TaskConfig, task: Task) -> list[str]:
    counts = Counter(e.answer for e in task.examples)
    common = ", ".join(f"{answer!r:.24} {n:,}" for answer, n in counts.most_common(5))
    lines = ["name: files", f"path: {_quoted(config.path)}  # {len(task.examples):,} labelled, the easy questions"]
    if config.unlabelled:
        lines.append(f"unlabelled: {_quoted(config.unlabelled)}  # {len(task.unlabelled):,}, the hard questions")
    if config.test:
        lines.append(f"test: {_quoted(config.test)}  # {len(task.test):,} labelled, like the unlabelled ones")
    elif config.unlabelled:
        lines.append("# test: none, so how the student does on the unlabelled kind of question will not be known")
    lines += [f"prompt: {_quoted(config.prompt)}", f"answer: {_quoted(config.answer)}"]
    if task.answer_form == "choice":
        lines.append(f"choices: {_quoted(list(task.choices))}  # {common}")
    else:
        lines.append(f"answer_form: free  # {len(counts):,} different answers")
    if config.options:
        lines += [f"options: {_quoted(list(config.options))}", f"answer_as: {config.answer_as}"]
    if config.id:
        lines.append(f"id: {_quoted(config.id)}")
    return lines


def _split_lines(config: TaskConfig, task: Task) -> list[str]:
    """Sizes of the parts: all that there is, up to MOST."""
    rated: list[str] = []
    if task.unlabelled:
        sides = Counter(sides_by_file(task)[1])
        easy, hard, ood = sides["easy"], sides["hard"], sides["test"]
        if not hard:
            raise DataError(
                f"{config.unlabelled}: all of its questions are in another file, too; give questions whose answers are "
                "not known"
            )
    elif task.answer_form == "free":
        raise DataError(
            f"{config.path}: nothing tells easy questions from hard ones; give the hard ones with --unlabelled, or "
            "write a configuration with task.difficulty, a column where larger is harder"
        )
    else:
        n_labelled = len(task.examples) // 4
        rated = [
            "difficulty:  # of one file alone: the weak model rates it, with the labels of a part that is set aside",
            "  source: entropy",
            f"  n_labelled: {n_labelled}",
        ]
        # The sides are cut at quantiles of 0.4 and 0.6; ties and like texts may move them a little.
        easy = hard = int(0.36 * (len(task.examples) - n_labelled))
        ood = hard // 3
        hard -= ood
    if easy < MIN_LABELLED:
        raise DataError(
            f"{config.path}: {easy} easy labelled examples are too few to train and to test (without those that the "
            f"test has, too); give at least {MIN_LABELLED}"
        )
    sizes = {"id_test": min(easy // 5, MOST["id_test"])}
    sizes["easy_pool"] = min(easy - sizes["id_test"], MOST["easy_pool"])
    sizes["easy_train"], sizes["easy_val"] = 3 * sizes["easy_pool"] // 5, sizes["easy_pool"] // 4
    sizes["hard_pool"] = min(hard, MOST["hard_pool"])
    sizes["hard_unlabelled"] = max(1, 3 * sizes["hard_pool"] // 4)
    if ood:
        sizes["ood_test"] = min(ood, MOST["ood_test"])
    notes = {
        "id_test": "held out from the labelled questions",
        "easy_pool": "of which each seed draws the next two",
        "hard_pool": "of which each seed draws the next",
    }
    lines = [f"  n_{name}: {n}" + (f"  # {notes[name]}" if name in notes else "") for name, n in sizes.items()]
    return [*rated, "split:", *lines]


def _generation_line(config: TaskConfig, new_tokens: int) -> str:
    by = "answer_by: choices, " if config.options else ""
    return f"generation: {{{by}init_noise: 0.1, decoding: {{max_new_tokens: {new_tokens}}}}}"


def _quoted(value: Any) -> str:
    """As YAML in quotes: `no` and `1e3` stay texts."""
    return yaml.safe_dump(value, default_style='"', default_flow_style=True, allow_unicode=True, width=10**9).strip()


def _escaped(text: str | None) -> str | None:
    return None if text is None else text.replace("\n", r"\n")


def _round_up(n: int, step: int) -> int:
    return -(-n // step) * step
