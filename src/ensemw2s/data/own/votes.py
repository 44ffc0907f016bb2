"""A user's file of outside votes, read and checked before any work."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ensemw2s.data.own.labels import spelt_as, unknown_answer
from ensemw2s.data.people import cell, cell_among, check_file
from ensemw2s.data.readers.rows import StreamedRow, check_header
from ensemw2s.data.readers.stream import format_of, stream_rows
from ensemw2s.data.votes import VoteColumns
from ensemw2s.errors import DataError
from ensemw2s.examples import Task, VoteTable

SETTING = "task.votes"
MOST_VOTERS = 1000
"""A run holds voters x examples x classes numbers."""
CROWD_KIT = {"task": "id", "worker": "voter"}
"""Names of columns in crowd-kit's tables."""
ABSTAINS = "-1"
"""In a table of labelling functions, as Snorkel's."""
TOLERANCE = 1e-3
"""By how much probabilities may miss a sum of 1."""


def read_votes(path: str, task: Task) -> VoteTable:
    """The votes of a file with a row for each: `id`, `voter`, and `label` or probabilities.

    Probabilities are a mapping `probabilities` from class to number in JSON and Parquet, and in CSV a column for each
    class, by its name. Classes that are left out have 0. No row, or one without a label, is an abstention.

    crowd-kit's names will do, too: `task` and `worker` in the place of `id` and `voter`. A table without a voter and a
    label has a column for each voter beside `id`, as a matrix of labelling functions does; empty and -1 abstain.

    Raises:
        DataError: there is no such file, no vote in it, or a row that cannot be used; the message names the line.
    """
    file = check_file(path, SETTING)
    rows = _Rows(task, is_separated=format_of(file).kind == "separated")
    columns = VoteColumns()
    for row in (each for streamed in stream_rows(file, None) for each in rows.of_voters(streamed)):
        if row.problem:
            raise DataError(f"{row.place}: {row.problem}")
        if vote := rows.vote(row):
            columns.add(*vote, row.line)
            if columns.n_voters > MOST_VOTERS:
                raise DataError(
                    f"{row.place}: {SETTING}: more than {MOST_VOTERS:,} voters ({vote[1]!r:.80} is another); give "
                    "voters of few votes a common name"
                )
    if not len(columns):
        raise DataError(f"{SETTING}: {path}: no vote in it; give rows with id, voter and label, or leave {SETTING} out")
    if (lines := columns.repeated()) is not None:
        raise DataError(
            f"{file}:{lines[1]}: {SETTING}: this voter voted on this id in line {lines[0]}, too; keep one of them"
        )
    return columns.table()


class _Rows:
    """Rows of a file of votes, checked against a task."""

    def __init__(self, task: Task, *, is_separated: bool):
        self.is_separated = is_separated
        self._ids = {e.id for e in (*task.examples, *task.unlabelled, *task.test)}
        self._choices = task.choices
        self._index = {choice: k for k, choice in enumerate(task.choices)}
        self._classes: dict[str, int] = {}
        """Labels that were read, by their class."""

    def of_voters(self, row: StreamedRow) -> Iterator[StreamedRow]:
        """The row with our names of its columns; of a row of several voters' votes one for each."""
        if row.problem or ("id" in row.columns and "voter" in row.columns):
            yield row
            return
        columns = {CROWD_KIT.get(name, name): value for name, value in row.columns.items() if name}
        own = {"voter", "label", "probabilities", *self._choices}
        if "id" not in columns or not own.isdisjoint(columns):
            yield replace(row, columns=columns)
            return
        for voter, label in columns.items():
            if voter != "id":
                abstains = str(label) == ABSTAINS and ABSTAINS not in self._choices
                yield replace(row, columns={"id": columns["id"], "voter": voter, "label": "" if abstains else label})

    def vote(self, row: StreamedRow) -> tuple[str, str, list[tuple[int, float]]] | None:
        """Example, voter and shares of a row; None where it is an abstention."""
        columns = row.columns
        if self.is_separated and not {"id", "voter"} <= columns.keys():
            check_header(list(columns), ("id", "voter"), row.origin.rstrip(":"))
        name = cell_among(columns.get("id"), self._ids)
        if not name or name not in self._ids:
            raise DataError(
                f"{row.place}: {SETTING}: the task has no id {columns.get('id')!r:.80}; take the ids of its examples "
                "(task.id names their column)"
            )
        voter = cell(columns.get("voter"))
        if not voter:
            raise DataError(
                f"{row.place}: {SETTING}: no voter, but {columns.get('voter')!r:.80}; name who voted, by a text"
            )
        label, shares = columns.get("label"), self._stated(columns)
        if label is not None and label != "" and shares:
            raise DataError(f"{row.place}: {SETTING}: a label ({label!r:.80}) and probabilities; give one of them")
        if shares:
            return name, voter, self._normalised(row.place, shares)
        if label is None or label == "":
            self._check_columns(row)
            return None
        return name, voter, [(self._class(row.place, label), 1.0)]

    def _stated(self, columns: Mapping[str, Any]) -> Mapping[str, Any]:
        """Stated probabilities by class, without empty ones."""
        if self.is_separated:
            return {c: columns[c] for c in self._choices if columns.get(c, "") not in ("", None)}
        stated = columns.get("probabilities")
        if isinstance(stated, Mapping):  # Parquet has every class in every row
            return {choice: value for choice, value in stated.items() if value is not None}
        return {} if stated is None else {"": stated}

    def _check_columns(self, row: StreamedRow) -> None:
        """Raises DataError where the row has no place for a vote."""
        of_classes = self._choices if self.is_separated else ("probabilities",)
        if not {"label", *of_classes} & set(row.columns):
            what = f"of each class ({', '.join(self._choices)})" if self.is_separated else "'probabilities'"
            raise DataError(f"{row.place}: {SETTING}: neither a column 'label' nor {what}; add one")

    def _class(self, place: str, label: Any) -> int:
        text = str(label).lower() if isinstance(label, bool) else cell_among(label, self._index)
        if text is None:
            raise DataError(f"{place}: {SETTING}: expected a label, got {label!r:.80}; give one of {self._shown}")
        if text not in self._classes:
            choice = spelt_as(text, self._choices)
            if choice is None:
                raise unknown_answer(f"{place}: {SETTING}", "label", text, self._choices)
            self._classes[text] = self._index[choice]
        return self._classes[text]

    def _normalised(self, place: str, shares: Mapping[str, Any]) -> list[tuple[int, float]]:
        found: list[tuple[int, float]] = []
        for choice, value in shares.items():
            if choice == "":
                raise DataError(
                    f"{place}: {SETTING}: probabilities must be a mapping from class to number, got {value!r:.80}; "
                    f'write them as {{"{self._choices[0]}": 0.9, ...}}'
                )
            try:
                number = float("nan") if isinstance(value, bool) else float(value)
            except (TypeError, ValueError, OverflowError):
                number = float("nan")
            if not 0 <= number <= 1 + TOLERANCE:
                raise DataError(
                    f"{place}: {SETTING}: the probability of {choice!r:.80} is {value!r:.80}, no number from 0 to 1; "
                    "mend it"
                )
            if number > 0:
                found.append((self._class(place, choice), number))
        total = sum(number for _, number in found)
        if abs(total - 1) > TOLERANCE:
            raise DataError(f"{place}: {SETTING}: the probabilities add up to {total:g}, not to 1; normalise them")
        if len({choice for choice, _ in found}) < len(found):
            raise DataError(f"{place}: {SETTING}: probabilities of a class in two spellings; keep one of them")
        return [(choice, number / total) for choice, number in found]

    @property
    def _shown(self) -> str:
        return ", ".join(map(repr, self._choices))
