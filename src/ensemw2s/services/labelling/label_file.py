"""Label a file of any length with an ensemble, shard by shard. A killed labelling resumes where it stopped."""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from ensemw2s.data.answer_table import check_columns, inputs_among
from ensemw2s.data.own.cells import name_of
from ensemw2s.data.readers.rows import StreamedRow
from ensemw2s.data.readers.stream import format_of, stream_rows, total_units
from ensemw2s.data.templates.template import template
from ensemw2s.errors import DataError
from ensemw2s.pictures import folder_of
from ensemw2s.services.labelling.engine import Engine, LocalEngine
from ensemw2s.services.labelling.folder import LabelFolder, SeenIds, input_facts
from ensemw2s.services.labelling.meter import Meter, labels_metered
from ensemw2s.services.labelling.shard import Labeller, Reader, Seeing, Shard, read_shard

FIRST_ROWS = 1000
"""Of a file, by which names in --columns are checked."""


@dataclass(frozen=True)
class LabelCounts:
    """Numbers of rows of a finished labelling."""

    rows: int
    labelled: int
    failed: int
    shards: int


def check_request(input_path: str, prompt: str, id_column: str | None, shard_rows: int, batch_tokens: int) -> Path:
    """Check the arguments that can be checked without a model. Returns the path of the input.

    Raises:
        DataError: the input is missing, unreadable, no file or of an unknown kind; the template is malformed; a number
            is not positive.
    """
    path = Path(input_path)
    for option, number in (("--shard-rows", shard_rows), ("--batch-tokens", batch_tokens)):
        if number < 1:
            raise DataError(f"{option} is {number}; give a number of at least 1")
    template(prompt)
    for option, text in (("prompt template", prompt), ("--id", id_column or "")):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise DataError(f"{option} {text!r}: not valid Unicode; write it as UTF-8") from None
    if not path.exists():
        raise DataError(f"{input_path}: there is no such file; check the path (--input)")
    if not path.is_file():
        raise DataError(f"{input_path}: not a file; give one that can be read again to resume (--input)")
    format_of(path, input_path)
    if not os.access(path, os.R_OK):
        raise DataError(f"{input_path}: the file cannot be read; check its permissions")
    return path


def label_file(
    labeller: Reader,
    input_path: str,
    output: Path,
    *,
    prompt: str = "{{ prompt }}",
    id_column: str | None = None,
    wanted: Sequence[str] | None = None,
    shard_rows: int = 1024,
    batch_tokens: int = 4096,
    console: Console | None = None,
    engine: Engine | None = None,
) -> LabelCounts:
    """Label each row of a file of one of `data.stream.FORMATS` into `output`, or finish what an interrupted call began.

    Memory holds only the shards that are being labelled, one for each worker. Each row ends exactly once, in a file of
    labels or, with a reason, in a file of errors. A finished shard is never labelled again; a damaged one is reported
    and labelled again. Of two rows with one id the first keeps it, even if it could not be labelled. Paths of pictures
    in prompts count from the file's folder.

    Args:
        labeller: labels the prompts; with an engine it only reads them, as the engine's workers do.
        input_path: the file, which must not change during labelling.
        output: folder of the labels, created when missing.
        prompt: template of the prompt over the columns (`data.templates.template`).
        id_column: column of unique ids of the rows; None uses row-1, row-2 and so on.
        wanted: columns of the labels (`data.answer_table`); None takes the input's, the id and what was answered.
        shard_rows: number of input rows in a shard.
        batch_tokens: largest number of tokens of a batch, padding included; a longer prompt is a batch by itself.
        console: terminal for progress and for warnings of damaged shards; None uses standard error.
        engine: labels the shards; None uses `labeller`, one shard after another. Labels do not depend on it.

    Raises:
        DataError: see `check_request`; the file has no rows, its header lacks a column, or it changed meanwhile.
        RunError: the folder is in use, cannot be written, or was begun with other settings.
    """
    path = check_request(input_path, prompt, id_column, shard_rows, batch_tokens)
    needed = {*template(prompt).columns, *([id_column] if id_column else []), *inputs_among(wanted or ())}
    streamed = partial(stream_rows, path, sorted(needed), rest=wanted is None)
    first = [row.columns for row in itertools.islice(streamed(shown=input_path), FIRST_ROWS if wanted else 1)]
    if not first:
        raise DataError(f"{input_path}: the file has no rows; give at least one")
    check_columns(wanted or (), first, input_path)
    version = _version(path)
    settings = {
        "fingerprint": labeller.fingerprint,
        "input": input_facts(path, input_path),
        "prompt": prompt,
        "id_column": id_column,
        "columns": None if wanted is None else list(wanted),
        "shard_rows": shard_rows,
    }
    teller = console or Console(stderr=True)
    folder = LabelFolder(
        output, on_event=lambda text: teller.print(f"warning: {text}", markup=False, highlight=False, soft_wrap=True)
    )
    with folder.opened(settings) as manifest:
        if folder.is_finished(manifest):
            return LabelCounts(**manifest["counts"])
        # Places name the input as the first call did: one that was moved meanwhile gives the same bytes.
        rows = streamed(shown=manifest["input"]["path"])
        tally = _Tally()
        engine = engine or LocalEngine(_able(labeller))
        with SeenIds(output) as seen, labels_metered(console, total_units(path)) as meter:
            pictures = folder_of(input_path) if isinstance(labeller, Seeing) and labeller.reads_pictures else None
            read = partial(
                read_shard,
                labeller=labeller,
                prompt=prompt,
                id_column=id_column,
                seen=seen,
                wanted=wanted,
                pictures=pictures,
            )
            todo = _unfinished(rows, shard_rows, folder, read, id_column, seen, meter, tally)
            told = lambda shard, part: meter.working(shard.n_rows, shard.n_units, part)  # noqa: E731
            for shard, labels in engine.label(todo, batch_tokens, told):
                if _version(path) != version:
                    raise DataError(
                        f"{input_path}: the file changed while it was read; label a copy that nobody writes to, into "
                        "another --output"
                    )
                folder.save(shard.index, labels, shard.error_lines())
                meter.finished(shard.n_rows, shard.n_units)
                tally.labelled += len(labels)
        counts = LabelCounts(tally.rows, tally.labelled, tally.rows - tally.labelled, tally.shards)
        folder.finish(manifest, asdict(counts))
    return counts


@dataclass
class _Tally:
    """Running counts of rows read and labelled, units read and shards."""

    rows: int = 0
    units: int = 0
    shards: int = 0
    labelled: int = 0


def _able(labeller: Reader) -> Labeller:
    if not isinstance(labeller, Labeller):
        raise TypeError("label_file: a reader alone labels nothing; give an engine, too")
    return labeller


def _unfinished(
    rows: Iterator[StreamedRow],
    shard_rows: int,
    folder: LabelFolder,
    read: Callable[[Iterator[StreamedRow]], Shard],
    id_column: str | None,
    seen: SeenIds,
    meter: Meter,
    tally: _Tally,
) -> Iterator[Shard]:
    """Yield the shards without labels, each read only when it is asked for."""
    for first in rows:
        of_shard = itertools.chain([first], itertools.islice(rows, shard_rows - 1))
        index, before = tally.shards, tally.units
        n_labelled = folder.n_labels(index)
        if n_labelled is not None:
            n_rows, tally.units = _pass(of_shard, id_column, seen)
            tally.labelled += n_labelled
            meter.passed(n_rows, tally.units - before)
        else:
            shard = read(of_shard)
            shard.index, shard.n_units = index, shard.last_unit - before
            n_rows, tally.units = shard.n_rows, shard.last_unit
        tally.rows += n_rows
        tally.shards += 1
        if n_labelled is None:
            yield shard


def _pass(rows: Iterator[StreamedRow], id_column: str | None, seen: SeenIds) -> tuple[int, int]:
    """Skip a finished shard in the input and record its ids. Returns its number of rows and the position after it."""
    n_rows = units = 0
    for row in rows:
        n_rows, units = n_rows + 1, row.done
        if id_column is not None and not row.problem:
            try:
                seen.claim(name_of(row.place, row.columns, id_column, "--id"), row.line)
            except DataError:
                continue  # already among the errors
    return n_rows, units


def _version(path: Path) -> tuple[int, ...] | None:
    """Size, time and inode of a file, which change when it is written to or replaced; None where it is gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino
