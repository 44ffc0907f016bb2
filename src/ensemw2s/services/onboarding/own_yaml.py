"""The configuration that `ensemw2s init` writes: commented text, with sizes from the data."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from ensemw2s.config import ModelConfig, TrainConfig
from ensemw2s.config.generation import fitting_tokens
from ensemw2s.data.own.sides import sides_by_file
from ensemw2s.data.tasks.files import Files
from ensemw2s.errors import DataError
from ensemw2s.examples import Task
from ensemw2s.services.onboarding.lengths import positions_here

MIN_LABELLED = 20
MOST = {"easy_pool": 4000, "hard_pool": 8000, "id_test": 1000, "ood_test": 2000}
"""By default no part is larger: it would cost more time than it narrows the intervals."""
BATCH_SIZE = 16
"""Of trainings by optimiser steps."""


def to_yaml(name: str, config: Files, task: Task, weak: str, strong: str, leaks: Sequence[str] = ()) -> str:
    """The configuration as commented text, with sizes from the numbers of examples.

    Args:
        leaks: columns that give the answer away.

    Raises:
        DataError: there are too few labelled examples, or nothing tells easy questions from hard ones.
    """
    examples = (*task.examples, *task.unlabelled, *task.test)
    is_free = task.answer_form == "free"
    rated, sizes = _parts(config, task)
    longest = max(len(e.prompt.encode()) for e in examples)
    longest_answer = max(len(e.answer.encode()) for e in examples if e.answer is not None)
    # What `auto` takes of answers whose every byte is a token, and of an answer that is learned.
    new_tokens = max(fitting_tokens(longest_answer + 2), longest_answer + 2) if is_free else 0
    max_length = _round_up(longest + new_tokens + 64, 64)
    weak_part = strong_part = ", adapter: top, top_layers: 2" if is_free else ", pooling: auto"
    same = ""
    if weak == strong and is_free:
        # A network that is cut in the middle writes nothing that can be read: fewer trained layers make it weaker.
        weak_part = ", adapter: top, top_layers: 1"
        same = "  # one model twice: fewer layers of its own make this one the weaker"
    elif weak == strong:
        same = "  # one model twice: cut this one with n_layers, or it is no weaker"
    return "\n".join(
        [
            "# Written by `ensemw2s init`. Every setting and its meaning: src/ensemw2s/config/, and under `task`",
            "# src/ensemw2s/data/tasks/files.py.",
            f"name: {_quoted(name)}",
            f"seeds: {[0, 1] if is_free else [0, 1, 2]}  # each draws its own examples from the pools; more say more",
            "task:",
            *(f"  {line}" for line in _task_lines(config, task, leaks)),
            *rated,
            *_split_lines(sizes),
            f"# No text has more tokens than bytes; the longest prompt has {longest:,}. A longer one is refused.",
            f"weak: {{model: {_quoted(weak)}{weak_part}, max_length: {_read_by(weak, max_length)}}}{same}",
            f"strong: {{model: {_quoted(strong)}{strong_part}, max_length: {_read_by(strong, max_length)}}}",
            *_training_lines(sizes["easy_train"], is_free=is_free),
            *([_generation_line(config)] if is_free else []),
            "# The exported student is trained once more, on all that is labelled; the figures are of the one before.",
            "deliver: {refit: true}",
            "",
        ]
    )


def left_out(config: Files, leaks: Sequence[str]) -> str:
    names = ", ".join(map(repr, leaks))
    return f"the prompt leaves out {names}: on nearly every labelled row they tell {config.answer!r}"


def _task_lines(config: Files, task: Task, leaks: Sequence[str]) -> list[str]:
    counts = Counter(e.answer for e in task.examples)
    common = ", ".join(f"{answer!r:.24} {n:,}" for answer, n in counts.most_common(5))
    lines = ["name: files", f"path: {_quoted(config.path)}  # {len(task.examples):,} labelled, the easy questions"]
    if config.unlabelled:
        lines.append(f"unlabelled: {_quoted(config.unlabelled)}  # {len(task.unlabelled):,}, the hard questions")
    if config.test:
        lines.append(f"test: {_quoted(config.test)}  # {len(task.test):,} labelled, like the unlabelled ones")
    elif config.unlabelled:
        lines.append("# test: none, so how the student does on the unlabelled kind of question will not be known")
    if leaks:
        lines.append(f"# Left out of the prompt, for they give the answer away: {_quoted(list(leaks))}")
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


def _training_lines(n_train: int, *, is_free: bool) -> list[str]:
    """How experts and students are trained: each until more training changes nothing."""
    if not is_free:
        return [
            "# Linear heads are trained, each to the optimum of its loss; easy validation data choose its penalty.",
            "# Layers (`adapter: top`, `lora` or `full`) would be trained until these data no longer improve.",
            "students: {recipes: [{}, {with_easy: true}, {labels: hard}]}",
        ]
    # Room for ten epochs, and for four times the optimiser steps that a training takes at least.
    epochs = max(10, -(-4 * TrainConfig().min_steps // -(-n_train // BATCH_SIZE)))
    how = f"epochs: {epochs}, patience: 2, batch_size: {BATCH_SIZE}, learning_rate: 1.0e-3"
    return [
        "# Until two epochs in a row are no better on easy validation data; epochs is the most.",
        f"expert_training: {{{how}}}",
        f"student_training: {{{how}}}",
        "# More methods (independent, bagging), rounds and recipes compare more, and cost more.",
        "ensemble: {methods: [single, boosting], n_rounds: 3, prior: pretrained, shrinkage: 0.3, select_by: accuracy}",
        "students: {recipes: [{labels: hard, with_easy: true}]}",
    ]


def _parts(config: Files, task: Task) -> tuple[list[str], dict[str, int]]:
    """How difficulty is found, as lines, and the sizes of the parts: all that there is, up to MOST."""
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
    return rated, sizes


def _split_lines(sizes: Mapping[str, int]) -> list[str]:
    notes = {
        "id_test": "held out from the labelled questions",
        "easy_pool": "of which each seed draws the next two",
        "hard_pool": "of which each seed draws the next",
    }
    lines = [f"  n_{name}: {n}" + (f"  # {notes[name]}" if name in notes else "") for name, n in sizes.items()]
    return ["split:", *lines]


def _generation_line(config: Files) -> str:
    """How much is written, and where an answer ends, follows from the training answers."""
    by = "answer_by: choices, " if config.options else ""
    return f"generation: {{{by}init_noise: 0.1}}"


def _quoted(value: Any) -> str:
    """As YAML in quotes: `no` and `1e3` stay texts."""
    return yaml.safe_dump(value, default_style='"', default_flow_style=True, allow_unicode=True, width=10**9).strip()


def _read_by(model: str, max_length: int) -> int:
    """As much of it as the model has positions for, where that is known without fetching it."""
    positions = positions_here(ModelConfig(model=model))
    return max_length if positions is None else min(max_length, positions)


def _round_up(n: int, step: int) -> int:
    return -(-n // step) * step
