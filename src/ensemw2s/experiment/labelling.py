"""Label a file of any length with an ensemble, shard by shard; killed at any instant, it goes on where it was."""

import itertools
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from ensemw2s.data.files import name_of
from ensemw2s.data.load import READERS
from ensemw2s.data.stream import StreamedRow, stream_rows, total_units
from ensemw2s.data.template import template
from ensemw2s.errors import DataError
from ensemw2s.experiment.label_folder import LabelFolder, SeenIds, input_facts
from ensemw2s.experiment.label_shard import Labeller, label_shard, read_shard
from ensemw2s.experiment.meter import metered


@dataclass(frozen=True)
class LabelCounts:
    """Of a finished output folder."""

    rows: int
    labelled: int
    failed: int
    shards: int


def check_request(input_path: str, prompt: str, id_column: str | None, shard_rows: int, batch_tokens: int) -> Path:
    """Refuse what can be refused without a model; returns the input.

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
    if path.suffix.lower() not in READERS:
        raise DataError(f"{input_path}: cannot tell the format from {path.suffix!r}; use one of {', '.join(READERS)}")
    if not os.access(path, os.R_OK):
        raise DataError(f"{input_path}: the file cannot be read; check its permissions")
    return path


def label_file(
    labeller: Labeller,
    input_path: str,
    output: Path,
    *,
    prompt: str = "{{ prompt }}",
    id_column: str | None = None,
    shard_rows: int = 1024,
    batch_tokens: int = 4096,
    console: Console | None = None,
) -> LabelCounts:
    """Label each row of a .jsonl, .csv or .parquet file into `output`, or finish what an interrupted call began.

    Memory holds one shard, whatever the length of the file. Each row ends either in a file of labels or, with its
    reason, in one of errors, and exactly once. A shard that is there is never labelled again; of two rows with one id,
    the first has it, even if it could not be labelled.

    Args:
        labeller: what labels.
        input_path: the file; it must not change before the end.
        output: a folder, made when missing.
        prompt: template of the text to read (`data.template`).
        id_column: unique names of the rows; None: row-1, row-2 and so on.
        shard_rows: rows of the input to a shard.
        batch_tokens: at most that many tokens to a batch, padding included; a longer prompt is a batch of its own.
        console: where progress is drawn if it is a terminal.

    Raises:
        DataError: see `check_request`; the file has no rows, its header lacks a column, or it changed meanwhile.
        RunError: the folder is in use, cannot be written, or was begun with other settings.
    """
    path = check_request(input_path, prompt, id_column, shard_rows, batch_tokens)
    columns = sorted(set(template(prompt).columns) | ({id_column} if id_column else set()))
    if next(stream_rows(path, columns, shown=input_path), None) is None:
        raise DataError(f"{input_path}: the file has no rows; give at least one")
    version = _version(path)
    settings = {
        "fingerprint": labeller.fingerprint,
        "input": input_facts(path, input_path),
        "prompt": prompt,
        "id_column": id_column,
        "shard_rows": shard_rows,
    }
    folder = LabelFolder(output)
    with folder.opened(settings) as manifest:
        if folder.is_finished(manifest):
            return LabelCounts(**manifest["counts"])
        # Places name the input as the first call did: one that was moved meanwhile gives the same bytes.
        rows = stream_rows(path, columns, shown=manifest["input"]["path"])
        n_rows = units = n_labelled = n_shards = 0
        with SeenIds(output) as seen, metered(console, total_units(path)) as meter:
            for first in rows:
                of_shard = itertools.chain([first], itertools.islice(rows, shard_rows - 1))
                done = folder.n_labels(n_shards)
                if done is not None:
                    n_rows, units = _pass(of_shard, id_column, seen)
                    meter.passed(n_rows, units)
                else:
                    shard = read_shard(of_shard, labeller, prompt, id_column, seen)
                    told = meter.between(n_rows, units, shard.last_row, shard.last_unit)
                    labels = label_shard(shard, labeller, batch_tokens, told)
                    if _version(path) != version:
                        raise DataError(
                            f"{input_path}: the file changed while it was read; label a copy that nobody writes to, "
                            "into another --output"
                        )
                    folder.save(n_shards, labels, shard.error_lines())
                    done, n_rows, units = len(labels), shard.last_row, shard.last_unit
                n_labelled += done
                n_shards += 1
        counts = LabelCounts(n_rows, n_labelled, n_rows - n_labelled, n_shards)
        folder.finish(manifest, asdict(counts))
    return counts


def _pass(rows: Iterator[StreamedRow], id_column: str | None, seen: SeenIds) -> tuple[int, int]:
    """Stream past a finished shard, taking note of its ids; returns the number and units of its last row."""
    number = units = 0
    for row in rows:
        number, units = row.number, row.done
        if id_column is not None and not row.problem:
            try:
                seen.claim(name_of(row.place, row.columns, id_column, "--id"), row.line)
            except DataError:
                continue  # it is in the errors already
    return number, units


def _version(path: Path) -> tuple[int, ...] | None:
    """What changes when someone writes to the file or puts another in its place."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino
