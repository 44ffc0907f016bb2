"""The rows of one shard: which can be labelled, what is wrong with the others, and the labels, batch by batch."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from ensemw2s.data.own.cells import name_of
from ensemw2s.data.readers.rows import StreamedRow
from ensemw2s.data.readers.stream import reason_of
from ensemw2s.data.templates.template import template
from ensemw2s.errors import DataError
from ensemw2s.services.labelling.folder import SeenIds
from ensemw2s.storage.records import json_line

ENCODE_CHARACTERS = 2**20
"""Prompts are encoded when they are this long together, so that those far too long are not kept until the shard is
full."""


@runtime_checkable
class Reader(Protocol):
    """What knows which prompts an ensemble can read."""

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides a label: models, weights, decoding settings."""
        ...

    @property
    def max_length(self) -> int:
        """Tokens of a prompt."""
        ...

    def encode(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt."""
        ...


@runtime_checkable
class Labeller(Reader, Protocol):
    """What labels prompts; `experiment.labeller` makes one of an ensemble."""

    def label(self, prompts: Sequence[str]) -> list[dict[str, Any]]:
        """A label for each prompt, in order, ready for JSON; the same whatever else is in the batch."""
        ...


@dataclass(frozen=True)
class _Ready:
    """A row whose prompt can be labelled as far as can be told without its tokens."""

    number: int
    place: str
    id: str
    prompt: str


@dataclass
class Shard:
    """What becomes of the rows of one shard, without their other columns; errors are (number, place, id, reason)."""

    ready: list[_Ready] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    """In tokens, of those that are ready."""
    errors: list[tuple[int, str, str | None, str]] = field(default_factory=list)
    index: int = 0
    """Its number in the file."""
    n_rows: int = 0
    n_units: int = 0
    """What of the file it takes, in bytes or rows, as `data.stream` counts."""
    last_unit: int = 0
    """How far its last row is in the file."""

    def error_lines(self) -> Iterator[bytes]:
        for number, place, name, reason in sorted(self.errors, key=lambda error: error[0]):
            yield json_line({"id": name, "row": number, "place": place, "reason": reason})


def read_shard(
    rows: Iterator[StreamedRow], labeller: Reader, prompt: str, id_column: str | None, seen: SeenIds
) -> Shard:
    """Sort the rows of a shard into those to label and errors; an id is taken by its first row, even if that fails."""
    shard = Shard()
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
        except DataError as error:
            shard.errors.append((row.number, row.place, name, reason_of(error, row.place)))
            continue
        waiting.append(_Ready(row.number, row.place, name, text))
        characters += len(text)
        if characters >= ENCODE_CHARACTERS:
            _encode(waiting, labeller, shard)
            waiting, characters = [], 0
    _encode(waiting, labeller, shard)
    return shard


def _encode(waiting: list[_Ready], labeller: Reader, shard: Shard) -> None:
    """Move prompts that the models can read to `shard.ready`, and their lengths."""
    if not waiting:
        return
    for ready, ids in zip(waiting, labeller.encode([w.prompt for w in waiting]), strict=True):
        if 0 < len(ids) <= labeller.max_length:
            shard.ready.append(ready)
            shard.lengths.append(len(ids))
            continue
        reason = (
            f"its prompt has {len(ids)} tokens and the models read at most {labeller.max_length}; shorten it or delete "
            "the row"
            if ids
            else "the tokenizer makes no token of its prompt; give it another text or delete the row"
        )
        shard.errors.append((ready.number, ready.place, ready.id, reason))


def label_shard(shard: Shard, labeller: Labeller, batch_tokens: int, told: Callable[[float], None]) -> list[bytes]:
    """Lines for the file of labels, in the order of the input; a label that JSON has no word for is an error.

    `told` hears after each batch which part of the shard is done.
    """
    lines: dict[int, bytes] = {}
    n_done = 0
    for batch in batches(shard.lengths, batch_tokens):
        labels = labeller.label([shard.ready[i].prompt for i in batch])
        for i, label in zip(batch, labels, strict=True):
            ready = shard.ready[i]
            try:
                lines[i] = json_line({"id": ready.id, "prompt": ready.prompt, **label})
            except (ValueError, TypeError) as error:
                reason = f"its label cannot be written as JSON ({error}); look at the models, and at the prompt"
                shard.errors.append((ready.number, ready.place, ready.id, reason))
        n_done += len(batch)
        told(n_done / len(shard.ready))
    return [lines[i] for i in sorted(lines)]


def batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Indices of all, like lengths together; as many to a batch as fit into `batch_tokens` when padded."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        # The newest is the longest so far: it says how long all are padded.
        if batch and (len(batch) + 1) * lengths[i] > batch_tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
