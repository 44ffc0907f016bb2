"""Rows of one shard: rows to label, errors of the others, and the labels, batch by batch."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ensemw2s.core.batches import length_batches
from ensemw2s.data.answer_table import answer_row
from ensemw2s.data.own.cells import name_of
from ensemw2s.data.readers.rows import StreamedRow
from ensemw2s.data.readers.stream import reason_of
from ensemw2s.data.templates.template import template
from ensemw2s.errors import DataError
from ensemw2s.pictures import placed
from ensemw2s.services.labelling.folder import SeenIds
from ensemw2s.storage.records import json_line

ENCODE_CHARACTERS = 2**20
"""Total length at which waiting prompts are encoded, so that far too long ones are not kept in memory."""


@runtime_checkable
class Reader(Protocol):
    """Encodes prompts as an ensemble does and knows its limits."""

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides a label: models, weights, decoding settings."""
        ...

    def sizes(self, prompts: Sequence[str]) -> list[tuple[int, str]]:
        """Number of tokens of each prompt, and why the models cannot read it; empty where they can."""
        ...


@runtime_checkable
class Labeller(Reader, Protocol):
    """Labels prompts; `export.labeller.open_labeller` opens one from a saved ensemble."""

    def label(self, prompts: Sequence[str]) -> list[dict[str, Any]]:
        """A label for each prompt, in order, ready for JSON; the same whatever else is in the batch."""
        ...


@runtime_checkable
class Naming(Protocol):
    """Labels rows by their ids, too; `export.class_labeller.ClassLabeller` is one."""

    def naming(self, ids: Sequence[str]) -> Labeller:
        """The same for rows of these ids."""
        ...


@runtime_checkable
class Seeing(Protocol):
    """May open the pictures of prompts; an ensemble's reader is one (`export.prompt_reader.PromptReader`)."""

    @property
    def reads_pictures(self) -> bool:
        """Whether it does; else a picture's Markdown is text like any other."""
        ...


@dataclass(frozen=True)
class _Ready:
    """A row whose prompt has not failed before tokenisation."""

    number: int
    place: str
    id: str
    columns: dict[str, Any]
    prompt: str


@dataclass
class Shard:
    """Rows of one shard, and how they are written; errors are (number, place, id, columns, reason)."""

    id_column: str | None = None
    wanted: Sequence[str] | None = None
    """Columns of the table; None: the input's and ours."""
    ready: list[_Ready] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    """Number of tokens of each row in `ready`."""
    errors: list[tuple[int, str, str | None, dict[str, Any], str]] = field(default_factory=list)
    index: int = 0
    """Number of the shard in the file."""
    n_rows: int = 0
    n_units: int = 0
    """Size of the shard in units of the file, bytes or rows, as `data.readers.stream` counts them."""
    last_unit: int = 0
    """Position after its last row, in the same units."""

    def error_lines(self) -> Iterator[bytes]:
        """Lines of the file of errors, in the order of the input, each with its row of the table."""
        for number, place, name, columns, reason in sorted(self.errors, key=lambda error: error[0]):
            row = answer_row(name, columns, {}, id_column=self.id_column, wanted=self.wanted, error=reason)
            yield json_line({"id": name, "row": number, "place": place, "reason": reason, "table": row})


def read_shard(
    rows: Iterator[StreamedRow],
    labeller: Reader,
    prompt: str,
    id_column: str | None,
    seen: SeenIds,
    wanted: Sequence[str] | None = None,
    pictures: Path | None = None,
) -> Shard:
    """Split the rows of a shard into rows to label and errors. An id belongs to its first row, even if that fails.

    Args:
        pictures: folder that the paths of pictures in prompts count from; None where no picture is opened.
    """
    shard = Shard(id_column, wanted)
    waiting: list[_Ready] = []
    characters = 0
    for row in rows:
        shard.n_rows, shard.last_unit = shard.n_rows + 1, row.done
        name = None
        try:
            if row.problem:
                raise DataError(row.problem)
            if id_column is None:
                name = f"row-{row.number}"
            else:
                name = name_of(row.place, row.columns, id_column, "--id")
                if (first := seen.claim(name, row.line)) is not None:
                    raise DataError(f"the id {name!r} was used before, at {row.origin}{first}; ids must be unique")
            text = template(prompt).render(row.place, row.columns)
            if pictures is not None:
                text = placed(text, pictures, row.place)
        except DataError as error:
            shard.errors.append((row.number, row.place, name, row.columns, reason_of(error, row.place)))
            continue
        waiting.append(_Ready(row.number, row.place, name, row.columns, text))
        characters += len(text)
        if characters >= ENCODE_CHARACTERS:
            _encode(waiting, labeller, shard)
            waiting, characters = [], 0
    _encode(waiting, labeller, shard)
    return shard


def _encode(waiting: list[_Ready], labeller: Reader, shard: Shard) -> None:
    """Encode waiting prompts; readable ones go to `shard.ready` with their lengths, the others to the errors."""
    if not waiting:
        return
    named = labeller.naming([w.id for w in waiting]) if isinstance(labeller, Naming) else labeller
    for ready, (size, reason) in zip(waiting, named.sizes([w.prompt for w in waiting]), strict=True):
        if reason:
            shard.errors.append((ready.number, ready.place, ready.id, ready.columns, reason))
            continue
        shard.ready.append(ready)
        shard.lengths.append(size)


def label_shard(shard: Shard, labeller: Labeller, batch_tokens: int, told: Callable[[float], None]) -> list[bytes]:
    """Lines of the file of labels, in the order of the input; a label that JSON cannot hold becomes an error.

    `told` is called after each batch with the part of the shard that is done.
    """
    lines: dict[int, bytes] = {}
    n_done = 0
    for batch in length_batches(shard.lengths, batch_tokens):
        named = labeller.naming([shard.ready[i].id for i in batch]) if isinstance(labeller, Naming) else labeller
        labels = named.label([shard.ready[i].prompt for i in batch])
        for i, label in zip(batch, labels, strict=True):
            ready = shard.ready[i]
            try:
                said = {"filled_prompt": ready.prompt, **label}
                row = answer_row(ready.id, ready.columns, said, id_column=shard.id_column, wanted=shard.wanted)
                lines[i] = json_line(row)
            except (ValueError, TypeError) as error:
                reason = f"its label cannot be written as JSON ({error}); look at the models, and at the prompt"
                shard.errors.append((ready.number, ready.place, ready.id, ready.columns, reason))
        n_done += len(batch)
        told(n_done / len(shard.ready))
    return [lines[i] for i in sorted(lines)]
