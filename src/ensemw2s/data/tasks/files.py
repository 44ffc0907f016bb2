"""files: a user's own data, rows of files through a prompt template and named columns.

`data.own` has what reads the rows: labels, options, pairs of answers, columns that give the answer away.
"""

import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from ensemw2s.config.base import Text
from ensemw2s.config.task import TaskSettings
from ensemw2s.data.stand_in import COLOURS, N, json_lines
from ensemw2s.examples import Example, Task, Wording

PARTS = ("path", "unlabelled", "test")
"""Settings that name a file."""


class Files(TaskSettings):
    name: Literal["files"] = "files"
    path: Text
    """A .json, .jsonl, .csv, .tsv (each also with .gz) or .parquet file, a folder saved by `datasets`, or a hub name as
    hub:OWNER/NAME."""
    split: str = "train"
    """The split of a hub name or of a `datasets` folder that has several; of a hub name also a slice or a sum, such
    as train[:20000] or train+test."""
    unlabelled: str | None = None
    """Questions without answers, as `path`. They are the hard side and all of `path` is the easy one, so difficulty has
    no part; nothing that needs their true answers (ceiling, PGR) can be known, unless `unlabelled_answers` says so."""
    unlabelled_split: str = "train"
    unlabelled_answers: Literal["ignored", "sealed"] = "ignored"
    """`sealed`: every row of `unlabelled` has its true answer in the column `answer`. Nothing learns or chooses by
    these but the ceiling, and the evaluation counts with them (PGR, how many weak labels are right)."""
    test: str | None = None
    """With `unlabelled`: labelled questions of that kind, as `path`; without it there is no OOD test."""
    test_split: str = "test"
    prompt: str = "{{ prompt }}"
    """The text that the model reads, a Jinja template over the columns; `row["its name"]` is any column. `![](path)` is
    a picture; paths count from the data file's folder."""
    answer: str = "answer"
    """The column of the true answer; where `choices` are given, true and false are the texts `true`, `false`."""
    answer_form: Literal["choice", "free"] = "choice"
    """Answered by a class, or by a text."""
    choices: tuple[str, ...] = ()
    """The classes, in order; empty takes the sorted distinct answers."""
    ordered: bool = False
    """`choices` are steps of a scale, from least to most, such as grades: how far an answer is off is measured, too."""
    options: tuple[str, ...] = ()
    """With answer_form free: the column that lists a question's options, or the columns that hold one each;
    `choices.text` is the entry `text` of the column `choices`. The template reads them as `options`."""
    answer_as: Literal["text", "letter", "index", "number"] = "text"
    """With `options` or `choices`: how the answer names one of them; `index` counts from 0, `number` from 1."""
    right: str | None = None
    """With `wrong`: the column of a right answer. Every row becomes the question whether an answer is right: the
    template reads it as `candidate`, the right or a wrong one at even odds, and as `other` one of the other kind. The
    classes are `choices`, the wrong candidates' first; left out: no and yes. `answer` has no part."""
    wrong: tuple[str, ...] = ()
    """With `right`: the columns of wrong answers, of which one is drawn."""
    seed: int = 0
    """Of the candidates that `right` and `wrong` draw."""
    difficulty: str | None = None
    """A numeric column where larger is harder; required by `difficulty.source: column`."""
    id: str | None = None
    """A column of unique ids; None numbers the rows."""
    group: str | None = None
    """A column of what a split must not tear apart; None puts each row in its own group."""

    has_columns = True
    younger: ClassVar[tuple[str, ...]] = (*TaskSettings.younger, "unlabelled_answers", "ordered")

    @property
    def is_free(self) -> bool:
        return self.answer_form == "free"

    @property
    def is_ordered(self) -> bool:
        return self.ordered

    @property
    def has_options(self) -> bool:
        return bool(self.options)

    @property
    def has_unlabelled(self) -> bool:
        return bool(self.unlabelled)

    @property
    def template(self) -> str:
        return self.prompt

    @model_validator(mode="after")
    def _consistent(self) -> "Files":
        if self.test and not self.unlabelled:
            raise ValueError(
                "test is given without unlabelled: one file alone is split by difficulty, with a test of its own; give "
                "the unlabelled questions, too, or leave test out"
            )
        if self.unlabelled_answers == "sealed" and not self.unlabelled:
            raise ValueError("unlabelled_answers: sealed needs the file that has them; name it with unlabelled")
        if self.unlabelled and self.difficulty:
            raise ValueError("difficulty has no part where unlabelled is given; leave one of them out")
        if self.options and self.answer_form != "free":
            raise ValueError("options, which differ by question, are answered in words; set answer_form: free")
        if self.answer_as != "text" and not (self.options or self.choices):
            raise ValueError(
                f"answer_as: {self.answer_as} needs options or choices; name the options' columns, or list the classes"
            )
        if self.ordered and (len(self.choices) < 2 or self.answer_form == "free"):
            raise ValueError(
                "ordered: true needs choices, the classes from least to most; list them, or leave ordered out"
            )
        if bool(self.right) != bool(self.wrong):
            raise ValueError("right and wrong belong together; name the columns of both, or of neither")
        if self.right and (self.answer_form == "free" or self.unlabelled or self.answer_as != "text"):
            raise ValueError(
                "right and wrong make labelled questions answered by a class; leave out answer_form: free, unlabelled "
                "and answer_as"
            )
        if self.right and len(self.choices) not in (0, 2):
            raise ValueError(f"choices must be two where right is given, a wrong candidate's first: {self.choices}")
        return self

    def load(self) -> Task:
        """Read `path`, and the unlabelled and the test questions where they have files of their own.

        Raises:
            DataError: as `data.own.rows.load_files`.
        """
        from ensemw2s.data.own.rows import load_files  # which reads these settings

        return load_files(self)

    def wordings(
        self, examples: Sequence[Example], columns: Sequence[str], section: str = "evaluation"
    ) -> list[Wording]:
        from ensemw2s.data.own.wording import wordings  # which reads these settings

        return wordings(self, examples, columns, section)

    def stand_in(self) -> dict[str, str]:
        """One file for each that is named, with every column that the settings name."""
        named = [part for part in PARTS if getattr(self, part)]
        return {f"{part}.jsonl": json_lines(_row(self, N * p + i) for i in range(N)) for p, part in enumerate(named)}

    def small(self, folder: Path) -> "Files":
        return self.model_copy(update={part: str(folder / f"{part}.jsonl") for part in PARTS if getattr(self, part)})


def _row(settings: Files, i: int) -> dict[str, Any]:
    """Every column that the settings name, as text that tells the answer."""
    among = settings.choices or ("no", "yes")
    if settings.options:
        n = len(settings.options)
        among = COLOURS if n == 1 else tuple(f"colour {k}" for k in range(n))
    k = i % len(among)
    derived = {"candidate", "other"} if settings.right else {"options"} if settings.options else set()
    from ensemw2s.data.templates.template import template  # settings alone need no template engine

    columns = template(settings.prompt).columns
    row: dict[str, Any] = {column: f"{column} has {among[k]} in {i}" for column in columns if column not in derived}
    if len(settings.options) == 1:
        _put(row, settings.options[0], list(among))
    else:
        row |= dict(zip(settings.options, among, strict=False))
    if settings.right:
        row |= {settings.right: f"true {i}"} | {column: f"false {i} {column}" for column in settings.wrong}
    else:
        names = {"text": among[k], "letter": string.ascii_uppercase[k % 26], "index": k, "number": k + 1}
        row[settings.answer] = names[settings.answer_as]
    if settings.difficulty:
        row[settings.difficulty] = i * 37 % N  # each value once, in another order than the rows'
    row |= {column: row.get(column, f"{column} {i}") for column in (settings.id, settings.group) if column}
    return row


def _put(row: dict[str, Any], column: str, value: Any) -> None:
    """Set a column, or the entry of one that `choices.text` means."""
    *parents, last = column.split(".")
    for name in parents:
        if not isinstance(row.get(name), dict):
            row[name] = {}
        row = row[name]
    row[last] = value
