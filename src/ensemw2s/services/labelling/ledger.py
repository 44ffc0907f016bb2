"""Checksums of the shards of a labelling, by which a damaged one is known and made again."""

import json
from pathlib import Path
from typing import Any

from ensemw2s.errors import RunError
from ensemw2s.storage.checksums import facts_of, file_fault
from ensemw2s.storage.files import explained

LEDGER = ".shards.jsonl"
"""A line for each shard, written before its labels; what ends within a line costs that shard alone."""


class ShardLedger:
    """What each shard's files must hold: from the manifest of a finished folder, and from the lines added since.

    Args:
        folder: of the labels.
        entries: of the manifest, by shard.

    Raises:
        RunError: a folder stands in its place, or it cannot be read.
    """

    def __init__(self, folder: Path, entries: list[dict[str, Any]]):
        self._folder = folder
        # As text: a dict of dicts would take ten times the memory, and a long file has a hundred thousand shards.
        self._entries = {shard: json.dumps(entry) for shard, entry in enumerate(entries)}
        self._read_lines()

    def fault(self, shard: int, labels: Path, errors: Path) -> str | None:
        """What is wrong with a shard's files; None where nothing is. A shard that was never begun is at fault, too."""
        if shard not in self._entries:
            return f"{labels.name} is not known to be whole"
        entry = json.loads(self._entries[shard])
        if entry["errors"] is None and (errors.exists() or errors.is_symlink()):
            return f"{errors.name} was added"
        return file_fault(labels, entry["labels"]) or (file_fault(errors, entry["errors"]) if entry["errors"] else None)

    def has(self, shard: int) -> bool:
        return shard in self._entries

    def note(self, shard: int, labels: bytes, errors: bytes) -> None:
        """Say what a shard will hold. Raises RunError when the disk is full or read-only."""
        entry = {"labels": facts_of(labels), "errors": facts_of(errors) if errors else None}
        path = self._folder / LEDGER
        with explained(path), path.open("ab") as file:
            # A line of its own even after one that was torn. Not synced: a power cut that loses it costs the shard.
            file.write(f"\n{json.dumps({'shard': shard, **entry})}".encode())
        self._entries[shard] = json.dumps(entry)

    def entries(self, n_shards: int) -> list[dict[str, Any]]:
        """For the manifest."""
        return [json.loads(self._entries[shard]) for shard in range(n_shards)]

    def close(self) -> None:
        """Remove the lines, which the manifest holds by now."""
        path = self._folder / LEDGER
        with explained(path):
            path.unlink(missing_ok=True)

    def _read_lines(self) -> None:
        path = self._folder / LEDGER
        if path.is_dir():
            raise RunError(f"{path}: a folder stands where a file is needed; move it away and run the command again")
        with explained(path):
            if path.is_symlink() or (path.exists() and not path.is_file()):
                path.unlink()  # nothing that was written here
            lines = path.read_bytes().split(b"\n") if path.exists() else []
        for line in lines:
            try:
                found = json.loads(line)
                entry = {"labels": dict(found["labels"]), "errors": found["errors"] and dict(found["errors"])}
                self._entries[int(found["shard"])] = json.dumps(entry)
            except (ValueError, KeyError, TypeError, RecursionError):
                continue  # torn or damaged: its shard is made again
