"""The content-addressed store that all runs share, so that nothing is computed twice.

An artifact is a folder of tensors and a JSON record under the hash of everything that determines it. It is valid only
if its manifest exists (written last, before the folder is renamed into place) and every file matches its sha256.

Any number of processes may share a store. A rename is the only commit, so no process sees an artifact half written or
half removed. A process that removes an artifact (a damaged one, an older checkpoint) holds the store's lock and checks
it again first, because another process may have replaced it. An artifact that vanishes while it is read is a miss.
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

from ensemw2s.distributed import launch
from ensemw2s.errors import RunError
from ensemw2s.hashing import canonical_hash, file_sha256
from ensemw2s.storage.files import explained, is_alive, remove, sync
from ensemw2s.storage.locks import locked

TENSORS, RECORD, MANIFEST = "tensors.safetensors", "record.json", "manifest.json"
REMOVAL = "removal"
"""Name of the lock for removals, beside the folders of the kinds of artifacts."""


@dataclass(frozen=True)
class Artifact:
    """Tensors (memory-mapped, not to be written to) and a JSON record."""

    tensors: dict[str, Tensor]
    record: dict[str, Any]

    @property
    def state(self) -> dict[str, Tensor]:
        """The trained parameters among the tensors, which have the prefix `state/`."""
        return {n.removeprefix("state/"): t for n, t in self.tensors.items() if n.startswith("state/")}


def artifact_key(stage_version: int, inputs: dict[str, Any]) -> str:
    """Hash of a stage's version, its inputs (settings, hashes of consumed artifacts, seed) and the library versions."""
    return canonical_hash({"stage_version": stage_version, "inputs": inputs, "libraries": _libraries()})


@cache
def _libraries() -> dict[str, str]:
    return {name: version(name) for name in ("torch", "transformers")}  # cached: each look-up parses a file


class Store:
    """Artifacts below one folder, safe to share between processes and machines: a rename is the only commit.

    Args:
        root: made when missing.
        on_event: called with a message for each corrupt artifact before it is removed.
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
        """The artifact of that key: loaded from the store, or computed, saved and read back.

        In a launch of several processes only the main one reads and writes the store; all compute, because they may
        train together.
        """
        is_main = launch.rank() == 0
        stored = self.load(kind, key) if is_main else None
        if launch.agreed(stored is not None):
            self.reused[kind] += 1
            return stored or self._shared(kind, key)
        computed = compute()
        self.computed[kind] += 1
        saved = self.save(kind, key, computed) if is_main else None
        launch.agreed(None)  # the others wait until it is saved
        return saved or self._shared(kind, key)

    def load(self, kind: str, key: str) -> Artifact | None:
        """The artifact of that key, None where there is none. A damaged one is reported and removed, and None is
        returned.

        Raises:
            RunError: it cannot be read or removed.
        """
        folder = self.path(kind, key)
        with explained(folder):
            if _damage(folder) is None and (artifact := _read(folder)):
                return artifact
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
        """Write an artifact whole or not at all. Raises RunError when the disk is full or read-only."""
        folder = self.path(kind, key)
        with explained(folder), self._written(artifact) as temporary:
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.rename(folder)
            except OSError:
                if not folder.is_dir():
                    raise
                # Another process finished the same work first; equal keys mean equal content.
            sync(folder.parent)
            # Another process may have removed it again as damaged.
            return _read(folder) or artifact

    def _take_away(self, folder: Path) -> None:
        """Remove an artifact, renamed first so that no process sees a part of it. The caller holds the lock."""
        aside = self._temporary()
        folder.rename(aside)
        remove(aside)

    @contextmanager
    def _written(self, artifact: Artifact) -> Iterator[Path]:
        """Write the artifact into a temporary folder, which is removed unless the caller renames it."""
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
        """Tensors of an artifact, None where there is none (`records.TensorStore`)."""
        artifact = self.load(kind, key)
        if artifact is None:
            return None
        self.reused[kind] += 1
        return artifact.tensors

    def put(self, kind: str, key: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Save tensors and return them as they lie in the store, memory-mapped."""
        self.computed[kind] += 1
        return self.save(kind, key, Artifact(tensors, {})).tensors

    def replace(self, kind: str, key: str, tensors: dict[str, Tensor]) -> None:
        """Replace the tensors of a key. A crash in between loses the state but never leaves a wrong one."""
        if launch.rank() != 0:
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
        """Remove the artifact of a key, if there is one."""
        if launch.rank() != 0:
            return
        folder = self.path(kind, key)
        with explained(folder), locked(self.root / REMOVAL):
            if os.path.lexists(folder):
                self._take_away(folder)

    def path(self, kind: str, key: str) -> Path:
        """Folder of the artifact of a key."""
        return self.root / kind / key[:2] / key

    def _shared(self, kind: str, key: str) -> Artifact:
        artifact = self.load(kind, key)
        if artifact is None:
            raise RunError(
                f"{self.path(kind, key)}: the main process has it and process {launch.rank()} does not see it; put "
                "the store (ENSEMW2S_HOME) on a disk that all processes of the launch share"
            )
        return artifact

    def _sweep(self) -> None:
        """Remove temporary folders of dead processes of this machine; other machines may share the store."""
        for left in self.root.iterdir():
            owner = re.fullmatch(rf"\.tmp-(\d+)-\w+-{re.escape(platform.node())}", left.name)
            if owner and not is_alive(int(owner[1])):
                with suppress(OSError):  # another process sweeps too
                    remove(left)


def _read(folder: Path) -> Artifact | None:
    """Read an undamaged artifact; None where another process has removed or replaced it meanwhile."""
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
    """What is wrong with an artifact; None if nothing. Raises PermissionError where it may not be read."""
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
