"""The labels of a whole file, from the shards in which they were made: as one table, or one by one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ensemw2s.data.answer_table import check_table, table_format, write_table
from ensemw2s.services.labelling.folder import LabelFolder
from ensemw2s.storage.files import explained


def shards_of(output: Path) -> Path:
    """The folder of the shards: `output` itself, or what lies beside it where its name says that it is a table.

    Raises:
        ConfigError: a folder stands where the table is to be written.
    """
    if table_format(output) is None:
        return output
    check_table(output)
    return parts_of(output)


def parts_of(output: Path) -> Path:
    """The folder of the shards of what is not a folder of shards itself."""
    return output.with_name(f"{output.name}.parts")


def write_labels(output: Path, n_shards: int, shard_rows: int) -> None:
    """Write the table of a finished labelling: a line for each row of the input, in its order.

    Raises:
        RunError: the disk refuses.
    """
    folder = LabelFolder(shards_of(output))
    write_table(output, lambda: _rows(folder, n_shards, shard_rows))


def labelled_rows(parts: Path, n_shards: int) -> Iterator[dict[str, Any]]:
    """The rows of a finished labelling that have a label, in the order of the input. Raises RunError."""
    folder = LabelFolder(parts)
    for shard in range(n_shards):
        with explained(folder.path):
            lines = folder.labels(shard).read_bytes().splitlines()
        yield from map(json.loads, lines)


def _rows(folder: LabelFolder, n_shards: int, shard_rows: int) -> Iterator[dict[str, Any]]:
    for shard in range(n_shards):
        with explained(folder.path):
            errors = folder.errors(shard).read_bytes().splitlines() if folder.errors(shard).exists() else []
            failed = {error["row"]: error["table"] for error in map(json.loads, errors)}
            labelled = map(json.loads, folder.labels(shard).read_bytes().splitlines())
        number = shard * shard_rows + 1
        for row in labelled:
            while number in failed:
                yield failed.pop(number)
                number += 1
            yield row
            number += 1
        yield from failed.values()
