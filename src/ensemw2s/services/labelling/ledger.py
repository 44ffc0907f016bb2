"""Checksums of the shards of a labelling, by which damaged ones are detected."""

import json
from pathlib import Path
from typing import Any

from ensemw2s.errors import RunError
from ensemw2s.storage.checksums import facts_of, file_fault
from ensemw2s.storage.files import explained

LEDGER = ".shards.jsonl"
"""A line for each shard, written before its labels. A torn line costs that shard alone."""


class ShardLedger:
    """Checksums of each shard's files, from the manifest of a finished folder and from the lines added since.

    Args:
        folder: output folder of the labelling.
        entries: checksums from the manifest, by shard.

    Raises:
        RunError: a folder stands in its place, or it cannot be read.
    """

    def __init__(self, folder: Path, entries: list[dict[str, Any]]):
        self._folder = folder
        # As text: a dict of dicts would take ten times the memory, and a long file has a hundred thousand shards.
        self._entries = {shard: json.dumps(entry) for shard, entry in enumerate(entries)}
        self._read_lines()

    def fault(self, shard: int, labels: Path, errors: Path) -> str | None:
        """What is wrong with a shard's files; None if nothing. A shard that was never started counts as a fault."""
        if shard not in self._entries:
            return f"{labels.name} is not known to be whole"
        entry = json.loads(self._entries[shard])
        if entry["errors"] is None and (errors.exists() or errors.is_symlink()):
            return f"{errors.name} was added"
        return file_fault(labels, entry["labels"]) or (file_fault(errors, entry["errors"]) if entry["errors"] else None)

    def has(self, shard: int) -> bool:
        """Whether the checksums of a shard are known."""
        return shard in self._entries

    def note(self, shard: int, labels: bytes, errors: bytes) -> None:
        """Record the checksums of a shard before it is saved. Raises RunError when the disk is full or read-only."""
        entry = {"labels": facts_of(labels), "errors": facts_of(errors) if errors else None}
        path = self._folder / LEDGER
        with explained(path), path.open("ab") as file:
            # The newline first, in case the line before was torn. Not synced: losing it costs one shard.
            file.write(f"\n{json.dumps({'shard': shard, **entry})}".encode())
        self._entries[shard] = json.dumps(entry)

    def entries(self, n_shards: int) -> list[dict[str, Any]]:
        """Checksums of all shards, for the manifest."""
        return [json.loads(self._entries[shard]) for shard in range(n_shards)]

    def close(self) -> None:
        """Remove the file of lines, whose checksums the manifest now holds."""
        path = self._folder / LEDGER
        with explained(path):
            path.unlink(missing_ok=True)

    def _read_lines(self) -> None:
        path = self._folder / LEDGER
        if path.is_dir():
            raise RunError(f"{path}: a folder stands where a file is needed; move it away and run the command again")
        with explained(path):
            if path.is_symlink() or (path.exists() and not path.is_file()):
                path.unlink()  # not a file that this class wrote
            lines = path.read_bytes().split(b"\n") if path.exists() else []
        for line in lines:
            try:
                record = json.loads(line)
                entry = {"labels": dict(record["labels"]), "errors": record["errors"] and dict(record["errors"])}
                self._entries[int(record["shard"])] = json.dumps(entry)
            except (ValueError, KeyError, TypeError, RecursionError):
                continue  # torn or damaged: its shard is labelled again
