"""The content-addressed store that all runs share: what was computed once is never computed again.

An artifact is a folder of tensors and a JSON record under the hash of everything that decided it. It counts only
when its manifest is there (written last, before the folder gets its name) and every file matches its sha256.

Any number of processes may share a store. A rename is the only commit, so nothing is ever seen half written or half
removed. Whatever takes an artifact away (damage, an older checkpoint) holds the store's lock and looks again first,
because another process may have made it anew. An artifact that is gone when it is read is one that was never there.
"""

import json
import os
import platform
import re
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ensemw2s.distributed import launch as processes
from ensemw2s.errors import RunError
from ensemw2s.hashing import canonical_hash, file_sha256
from ensemw2s.storage.files import explained, is_alive, remove, sync
from ensemw2s.storage.locks import locked

TENSORS, RECORD, MANIFEST = "tensors.safetensors", "record.json", "manifest.json"
REMOVAL = "removal"
"""What the lock is for; it stands beside the kinds of artifacts."""


@dataclass(frozen=True)
class Artifact:
    """Tensors (memory-mapped, not to be written to) and a JSON record."""

    tensors: dict[str, Tensor]
    record: dict[str, Any]


def artifact_key(stage_version: int, inputs: dict[str, Any]) -> str:
    """Hash of a stage's version, its inputs (settings it reads, hashes of what it consumes, seed) and the libraries."""
    return canonical_hash({"stage_version": stage_version, "inputs": inputs, "libraries": _libraries()})


@cache
def _libraries() -> dict[str, str]:
    return {name: version(name) for name in ("torch", "transformers")}  # each look-up parses a file for milliseconds


class Store:
    """Artifacts below one folder, safe to share between processes and machines: a rename is the only commit.

    Args:
        root: made when missing.
        on_event: told of every corrupt artifact, with its path, before it is thrown away and made again.
    """

    def __init__(self, root: Path, *, on_event: Callable[[str], None] = lambda message: None):
        self.root = root
        self._on_event = on_event
        self.computed: Counter[str] = Counter()
        self.reused: Counter[str] = Counter()
        with explained(root):
            root.mkdir(parents=True, exist_ok=True)
            self._sweep()

    def memo(self, kind: str, key: str, compute: Callable[[], Artifact]) -> Artifact:
        """The artifact of that key: from the store, or computed, saved and read back.

        Of several processes the main one looks and writes; all compute, because they may train together.
        """
        is_main = processes.rank() == 0
        found = self.load(kind, key) if is_main else None
        if processes.agreed(found is not None):
            self.reused[kind] += 1
            return found or self._shared(kind, key)
        made = compute()
        self.computed[kind] += 1
        saved = self.save(kind, key, made) if is_main else None
        processes.agreed(None)  # the others wait until it is there
        return saved or self._shared(kind, key)

    def load(self, kind: str, key: str) -> Artifact | None:
        """None where there is none; a damaged one is named, removed and None too.

        Raises:
            RunError: it cannot be read or removed.
        """
        folder = self.path(kind, key)
        with explained(folder):
            if _damage(folder) is None and (found := _read(folder)):
                return found
            if not os.path.lexists(folder):
                return None
            with locked(self.root / REMOVAL):
                # Another process may have replaced it between the two looks.
                problem = _damage(folder)
                if problem is None or not os.path.lexists(folder):
                    return _read(folder)
                self._on_event(f"{folder}: damaged ({problem}); removed, it will be made again")
                self._take_away(folder)
            return None

    def save(self, kind: str, key: str, artifact: Artifact) -> Artifact:
        """Write whole or not at all. Raises RunError when the disk is full or read-only."""
        folder = self.path(kind, key)
        with explained(folder), self._written(artifact) as temporary:
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.rename(folder)
            except OSError:
                if not folder.is_dir():
                    raise
                # Another process finished the same work first: equal keys are equal contents.
            sync(folder.parent)
            # What was just written may be gone again, where another process saw it damaged.
            return _read(folder) or artifact

    def _take_away(self, folder: Path) -> None:
        """Remove an artifact under the lock; nobody sees a part of it."""
        aside = self._temporary()
        folder.rename(aside)
        remove(aside)

    @contextmanager
    def _written(self, artifact: Artifact) -> Iterator[Path]:
        """The whole artifact in a folder that has no name yet; it is removed unless it gets one."""
        temporary = self._temporary()
        try:
            temporary.mkdir(parents=True)
            save_file({name: t.detach().contiguous() for name, t in artifact.tensors.items()}, temporary / TENSORS)
            (temporary / RECORD).write_text(json.dumps(artifact.record, sort_keys=True))
            manifest = {name: file_sha256(temporary / name) for name in (TENSORS, RECORD)}
            (temporary / MANIFEST).write_text(json.dumps(manifest))
            for file in temporary.iterdir():
                sync(file)
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _temporary(self) -> Path:
        return self.root / f".tmp-{os.getpid()}-{uuid.uuid4().hex[:8]}-{platform.node()}"

    def get(self, kind: str, key: str) -> dict[str, Tensor] | None:
        """Tensors alone, for those who see no path (`types.TensorStore`)."""
        found = self.load(kind, key)
        if found is not None:
            self.reused[kind] += 1
        return None if found is None else found.tensors

    def put(self, kind: str, key: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        self.computed[kind] += 1
        return self.save(kind, key, Artifact(tensors, {})).tensors

    def replace(self, kind: str, key: str, tensors: dict[str, Tensor]) -> None:
        """Save over an older state; a crash in between loses the state, never leaves a wrong one."""
        if processes.rank() != 0:
            return
        folder = self.path(kind, key)
        with explained(folder), self._written(Artifact(tensors, {})) as temporary:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with locked(self.root / REMOVAL):
                if os.path.lexists(folder):
                    self._take_away(folder)
                temporary.rename(folder)
            sync(folder.parent)

    def discard(self, kind: str, key: str) -> None:
        if processes.rank() != 0:
            return
        folder = self.path(kind, key)
        with explained(folder), locked(self.root / REMOVAL):
            if os.path.lexists(folder):
                self._take_away(folder)

    def path(self, kind: str, key: str) -> Path:
        return self.root / kind / key[:2] / key

    def _shared(self, kind: str, key: str) -> Artifact:
        found = self.load(kind, key)
        if found is None:
            raise RunError(
                f"{self.path(kind, key)}: the main process has it and process {processes.rank()} does not see it; put "
                "the store (ENSEMW2S_HOME) on a disk that all processes of the launch share"
            )
        return found

    def _sweep(self) -> None:
        """Remove what this machine's processes that are gone left half written; other machines may share the folder."""
        for left in self.root.iterdir():
            owner = re.fullmatch(rf"\.tmp-(\d+)-\w+-{re.escape(platform.node())}", left.name)
            if owner and not is_alive(int(owner[1])):
                with suppress(OSError):  # another process sweeps too
                    remove(left)


def _read(folder: Path) -> Artifact | None:
    """What an undamaged artifact holds; None where another process has taken it away or replaced it meanwhile."""
    path, before = folder / TENSORS, None
    try:
        before = path.stat().st_ino
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        record = json.loads((folder / RECORD).read_text())
        # The library opens the file once for its header and once more for its values.
        return Artifact(tensors, record) if path.stat().st_ino == before else None
    except FileNotFoundError:
        return None
    except RuntimeError:  # how the second opening fails
        if path.exists() and path.stat().st_ino == before:
            raise
        return None


def _damage(folder: Path) -> str | None:
    """What is wrong with an artifact, or None. Raises PermissionError: it cannot be looked at."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        for name in (TENSORS, RECORD):
            if file_sha256(folder / name) != manifest[name]:
                return f"{name} does not match its sha256"
    except PermissionError:
        raise
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except OSError as error:
        return f"{Path(error.filename or folder).name} cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError, RecursionError):
        return f"{MANIFEST} is unreadable"
    return None
