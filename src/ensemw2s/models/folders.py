"""Folders that become visible only when whole, and the lock that lets one process at a time write one."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ensemw2s.errors import ModelError


def cache_home() -> Path:
    """Where fetched models live: `$ENSEMW2S_HOME`, else `~/.cache/ensemw2s`."""
    return Path(os.environ.get("ENSEMW2S_HOME") or Path.home() / ".cache" / "ensemw2s")


@contextlib.contextmanager
def new_folder(destination: Path) -> Iterator[Path]:
    """A temporary folder beside `destination` that takes its place when the block ends without an error.

    An error or an interrupt removes it and leaves `destination` as it was. A process that is killed leaves
    its temporary folder behind; the next call for the same destination removes it.

    Raises:
        ModelError: `destination` is a file, or its parent cannot be written.
    """
    if destination.is_file():
        raise ModelError(
            f"{destination}: a file stands where a folder is to be written; move it or name another folder"
        )
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(destination)
        temporary = Path(
            tempfile.mkdtemp(prefix=f".{destination.name}.{os.getpid()}.", suffix=".tmp", dir=destination.parent)
        )
    except OSError as error:
        raise ModelError(f"{destination}: the folder cannot be written ({error}); choose a writable place") from None
    try:
        yield temporary
        temporary.chmod(0o755)  # mkdtemp makes it private
        _sync(temporary)
        _put_in_place(temporary, destination)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def locked(destination: Path) -> Iterator[None]:
    """Hold the right to write `destination`; a second process waits. The kernel frees it at a death."""
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        handle = (destination.parent / f".{destination.name}.lock").open("w")
    except OSError as error:
        raise ModelError(
            f"{destination}: the folder cannot be written ({error}); set ENSEMW2S_HOME to a writable one"
        ) from None
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _put_in_place(temporary: Path, destination: Path) -> None:
    old = temporary.with_suffix(".old.tmp")
    if destination.exists():
        destination.rename(old)  # a full folder cannot be renamed over
    temporary.rename(destination)
    _sync_folder(destination.parent)
    shutil.rmtree(old, ignore_errors=True)


def _remove_stale(destination: Path) -> None:
    for path in destination.parent.glob(f".{destination.name}.*.tmp"):
        owner = path.name.removeprefix(f".{destination.name}.").split(".")[0]
        if owner.isdecimal() and not _alive(int(owner)):
            shutil.rmtree(path, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _sync(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as handle:
                os.fsync(handle.fileno())
        else:
            _sync_folder(path)
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
