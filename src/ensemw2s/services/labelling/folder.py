"""The output folder of labelling: numbered shards, and a manifest of the settings that they were made with.

A shard is finished when its file of labels exists and matches its checksum (`ledger`). Its file of errors is written
first, so that no error is lost.
"""

import hashlib
import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ensemw2s.errors import RunError
from ensemw2s.hashing import sha256_of
from ensemw2s.services.labelling.ledger import ShardLedger
from ensemw2s.storage.checksums import facts
from ensemw2s.storage.files import explained, write_atomic
from ensemw2s.storage.locks import run_lock

SCHEMA = 3
MANIFEST = "manifest.json"
SEEN = ".ids.sqlite"

MENDS = {
    "schema": "finish with the version of ensemw2s that began it",
    "fingerprint": "use the ensemble it was begun with (its models, weights, prompt and decoding settings)",
    "input bytes": "give the input it was begun with",
    "input sha256": "give the input it was begun with",
    "prompt": "use the same --prompt",
    "id_column": "use the same --id",
    "columns": "use the same --columns",
    "shard_rows": "use the same --shard-rows",
}


class LabelFolder:
    """One output folder; `opened` gives it to one process at a time.

    Args:
        path: created when missing.
        on_event: called with a message for each damaged shard before it is labelled again.
    """

    def __init__(self, path: Path, *, on_event: Callable[[str], None] = lambda message: None):
        self.path = path
        self._on_event = on_event

    def labels(self, shard: int) -> Path:
        """File of a shard's labels."""
        return self.path / f"labels-{shard:05d}.jsonl"

    def errors(self, shard: int) -> Path:
        """File of a shard's rows that could not be labelled."""
        return self.path / f"errors-{shard:05d}.jsonl"

    @contextmanager
    def opened(self, settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Lock the folder, remove temporary files of a killed process, and yield the manifest.

        Raises:
            RunError: another process works in it; it cannot be written; it holds labels of something else, or of other
                settings than `settings`.
        """
        with run_lock(self.path, option="--output"):
            with explained(self.path):
                for stale in (*self.path.glob(".*.tmp"), *self.path.glob(f"{SEEN}*")):
                    stale.unlink()
            manifest = self._begin(settings)
            self._ledger = ShardLedger(self.path, manifest.get("shards", []))
            yield manifest

    def save(self, shard: int, labels: Iterable[bytes], errors: Iterable[bytes]) -> None:
        """Save a finished shard. Raises RunError when the disk is full or read-only."""
        label_bytes, error_bytes = b"".join(labels), b"".join(errors)
        if error_bytes:
            write_atomic(self.errors(shard), error_bytes)
        else:
            with explained(self.errors(shard)):
                self.errors(shard).unlink(missing_ok=True)  # of an earlier, damaged state
        self._ledger.note(shard, label_bytes, error_bytes)
        write_atomic(self.labels(shard), label_bytes)

    def n_labels(self, shard: int) -> int | None:
        """Number of labelled rows of a finished shard; None where it is not finished, or damaged and to be labelled
        again.

        Raises:
            RunError: a folder stands where one of its files belongs.
        """
        labels, errors = self.labels(shard), self.errors(shard)
        for path in (labels, errors):
            if path.is_dir():
                raise RunError(
                    f"{path}: a folder stands where a file is needed; move it away and run the same command again"
                )
        fault = self._ledger.fault(shard, labels, errors)
        if fault is None:
            with labels.open("rb") as file:
                return sum(1 for _ in file)
        if self._ledger.has(shard) or labels.exists():
            self._on_event(f"{self.path}: shard {shard} is damaged ({fault}); its rows are labelled again")
        return None

    def finish(self, manifest: dict[str, Any], counts: dict[str, int]) -> None:
        """Write counts and checksums into the manifest. Raises RunError where the folder holds other files."""
        self._check_strays(counts["shards"])
        self._write(manifest | {"finished": True, "counts": counts, "shards": self._ledger.entries(counts["shards"])})
        self._ledger.close()

    def is_finished(self, manifest: dict[str, Any]) -> bool:
        """Whether all shards are finished and undamaged.

        Raises:
            RunError: the folder holds files of no shard.
        """
        if not manifest["finished"]:
            return False
        n_shards = manifest["counts"]["shards"]
        self._check_strays(n_shards)
        if any(self._ledger.fault(i, self.labels(i), self.errors(i)) for i in range(n_shards)):
            return False
        self._ledger.close()  # left behind where the process was killed before
        return True

    def _check_strays(self, n_shards: int) -> None:
        """Refuse files that readers of labels-* would take for shards of this labelling."""
        for path in sorted([*self.path.glob("labels-*"), *self.path.glob("errors-*")]):
            name = re.fullmatch(r"(labels|errors)-([0-9]{5,9})\.jsonl", path.name)
            number = int(name[2]) if name else n_shards
            if number >= n_shards or path.name not in (self.labels(number).name, self.errors(number).name):
                raise RunError(
                    f"{path}: none of the {n_shards} shards of this labelling; move it out of the folder and run the "
                    "same command again"
                )

    def _begin(self, settings: dict[str, Any]) -> dict[str, Any]:
        path = self.path / MANIFEST
        if not path.exists():
            if orphans := sorted([*self.path.glob("labels-*.jsonl"), *self.path.glob("errors-*.jsonl")]):
                raise RunError(
                    f"{self.path}: holds {orphans[0].name} and no {MANIFEST}, so nobody knows what made it; choose "
                    "another --output, or remove these files"
                ) from None
            manifest = {"schema": SCHEMA, **settings, "finished": False}
            self._write(manifest)
            return manifest
        try:
            if not path.is_file():  # a named pipe would be waited for
                raise ValueError
            manifest = json.loads(path.read_bytes())
            digest = manifest.pop("sha256", None)
            before = _flat(manifest)
            if before["schema"] == SCHEMA and digest != _digest(manifest):
                raise ValueError
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise RunError(
                f"{path}: not the manifest of labels, or damaged; choose another --output, or remove the folder and "
                "label anew"
            ) from None
        now = _flat({"schema": SCHEMA, **settings})
        for name, mend in MENDS.items():
            if before[name] != now[name]:
                raise RunError(
                    f"{self.path}: its labels were begun with {name} {before[name]!r}, and now it is {now[name]!r}; "
                    f"{mend}, or choose another --output"
                )
        return manifest

    def _write(self, manifest: dict[str, Any]) -> None:
        write_atomic(self.path / MANIFEST, json.dumps(manifest | {"sha256": _digest(manifest)}, indent=2) + "\n")


class SeenIds:
    """Line on which each id was first used, kept on disk: about 32 bytes for each id, and 8 MiB of memory.

    A set of a hundred million ids would take gigabytes of memory. The file is not kept between runs: each run fills it
    again while it skips the finished shards, so it always agrees with them and needs no commit. Ids are stored as 16
    bytes of a hash; a row would be wrongly refused only where two of these collide.

    Raises:
        RunError: the disk is full or read-only.
    """

    def __init__(self, folder: Path):
        self._path = folder / SEEN
        with self._explained():
            self._db = sqlite3.connect(self._path, isolation_level=None)
            for setting in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", "cache_size=-8192"):
                self._db.execute(f"PRAGMA {setting}")
            self._db.execute("CREATE TABLE ids (digest BLOB PRIMARY KEY, line INTEGER) WITHOUT ROWID")
            self._db.execute("BEGIN")

    def __enter__(self) -> "SeenIds":
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()
        self._path.unlink(missing_ok=True)

    def claim(self, name: str, line: int) -> int | None:
        """Record that this line uses the id. Returns None, or the earlier line that uses it."""
        digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
        with self._explained():
            if self._db.execute("INSERT OR IGNORE INTO ids VALUES (?, ?)", (digest, line)).rowcount:
                return None
            return self._db.execute("SELECT line FROM ids WHERE digest = ?", (digest,)).fetchone()[0]

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise RunError(
                f"{self._path}: cannot be written ({error}); free some space or choose another --output, and run the "
                "same command again: nothing finished is lost"
            ) from error


def input_facts(path: Path, shown: str) -> dict[str, Any]:
    """Path, length and sha256 of an input. A copy has the same length and sha256, an edited file has not."""
    return {"path": shown, **facts(path)}


def _flat(manifest: dict[str, Any]) -> dict[str, Any]:
    """Settings that must not change between calls. The path of the input may: a moved file is the same."""
    of_input = manifest["input"]
    flat = {"input bytes": of_input["bytes"], "input sha256": of_input["sha256"]}
    return flat | {name: manifest[name] for name in MENDS if not name.startswith("input ")}


def _digest(manifest: dict[str, Any]) -> str:
    """sha256 of a manifest without its own."""
    return sha256_of(json.dumps(manifest, sort_keys=True).encode())
