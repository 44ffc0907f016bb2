"""Atomic writes of files and folders, and the operating system's errors explained to a user."""

import contextlib
import errno
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from ensemw2s.errors import ConfigError, RunError

_FULL = "the disk is full; free some space and run the same command again, nothing finished is lost"
_READ_ONLY = "the place is read-only for this user; choose another (--run-dir, --output or ENSEMW2S_HOME)"
_FILE_IN_THE_WAY = "a file stands where a folder is needed; move it away or choose another folder"
_FOLDER_IN_THE_WAY = "a folder stands where a file is needed; move it away and run the same command again"
_VANISHED = "the folder vanished meanwhile; run the same command again, what was finished is kept in the store"
_MENDS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EACCES: _READ_ONLY,
    errno.EPERM: _READ_ONLY,
    errno.EROFS: _READ_ONLY,
    errno.ENOTDIR: _FILE_IN_THE_WAY,
    errno.EEXIST: _FILE_IN_THE_WAY,
    errno.EISDIR: _FOLDER_IN_THE_WAY,
    errno.ENOENT: _VANISHED,
    errno.ESTALE: _VANISHED,
    errno.ELOOP: "a link stands where a file or folder is needed; move it away and run the same command again",
    errno.ENAMETOOLONG: "the name is too long for this disk; choose a shorter one",
}


def cache_home() -> Path:
    """Where models and the store live: `$ENSEMW2S_HOME`, else `~/.cache/ensemw2s`.

    Raises:
        ConfigError: the path is no UTF-8 text.
    """
    home = Path(os.environ.get("ENSEMW2S_HOME") or Path.home() / ".cache" / "ensemw2s")
    check_path(home, "ENSEMW2S_HOME")
    return home


def check_path(path: Path, what: str) -> None:
    """Refuse a path that is not UTF-8 text or holds a NUL: libraries, and the records of a run, cannot hold it.

    Args:
        what: option or variable that the path came from.

    Raises:
        ConfigError: naming the path and the mend.
    """
    if "\0" in str(path):
        raise ConfigError(f"{what}: the path {str(path)!r} holds a NUL character; give a path without it")
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path.absolute()).decode(errors="backslashreplace")
        raise ConfigError(f"{what}: the path {shown} is not UTF-8; rename that folder or choose another") from None
    except FileNotFoundError:  # the working folder itself is gone
        raise ConfigError(f"{what}: the current folder no longer exists; change to one that does") from None


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write at `path` into a RunError with its mend."""
    if "\0" in str(path):
        raise RunError(f"{str(path)!r}: the path holds a NUL character; give a path without it")
    try:
        yield
    except (OSError, SafetensorError) as error:
        if _code(error) is None and isinstance(error, SafetensorError):
            raise  # of the tensors, not of the disk
        raise refusal(path, error) from error


def refusal(path: Path, error: OSError | SafetensorError) -> RunError:
    """A RunError that explains the operating system's refusal to write at `path`."""
    code = _code(error)
    mend = _MENDS.get(code or 0, "check the disk and run the same command again")
    reason = os.strerror(code) if code else " ".join(str(error).split())
    return RunError(f"{path}: cannot be written ({reason}): {mend}")


def _code(error: OSError | SafetensorError) -> int | None:
    """errno of an error; safetensors gives it only in its message."""
    if isinstance(error, OSError):
        return error.errno
    number = re.search(r"os error (\d+)", str(error))
    return int(number[1]) if number else None


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all: temporary name, fsync, rename, fsync of the folder.

    Raises:
        RunError: the disk is full, or the folder is read-only or not a folder.
    """
    with new_file(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place when the block, which writes it, ends without an error.

    Raises:
        RunError: the disk refuses, also within the block.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
        finally:
            with contextlib.suppress(OSError):  # the first error is the one to tell
                temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(destination: Path) -> Iterator[Path]:
    """A temporary folder beside `destination` that takes its place when the block ends without an error.

    An error or an interrupt removes it and leaves `destination` as it was. A process that is killed leaves its
    temporary folder behind; the next call for the same destination removes it.

    Raises:
        RunError: `destination` is a file, or the disk refuses, also within the block.
    """
    if destination.is_file():
        raise RunError(f"{destination}: a file stands where a folder is to be written; move it or name another folder")
    with explained(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(destination)
        temporary = Path(
            tempfile.mkdtemp(prefix=f".{destination.name}.{os.getpid()}.", suffix=".tmp", dir=destination.parent)
        )
        try:
            yield temporary
            temporary.chmod(0o755)  # mkdtemp makes it private
            sync_tree(temporary)
            _put_in_place(temporary, destination)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def sync_tree(folder: Path) -> None:
    """fsync a folder, its files and their names. Raises OSError."""
    for path in sorted(folder.rglob("*")):
        sync(path)
    sync(folder)


def sync(path: Path) -> None:
    """fsync a file's content, or the names in a folder. Raises OSError."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def is_alive(process: int) -> bool:
    """Whether a process of that id runs on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it exists. Raises OSError."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _put_in_place(temporary: Path, destination: Path) -> None:
    old = temporary.with_suffix(".old.tmp")
    if os.path.lexists(destination):
        destination.rename(old)  # a full folder, or a link to nothing, cannot be renamed over
    temporary.rename(destination)
    sync(destination.parent)
    with contextlib.suppress(OSError):
        remove(old)


def _remove_stale(destination: Path) -> None:
    prefix = f".{destination.name}."
    for path in destination.parent.iterdir():
        if path.name.startswith(prefix) and path.name.endswith(".tmp"):
            owner = path.name.removeprefix(prefix).split(".")[0]
            if owner.isdecimal() and not is_alive(int(owner)):
                with contextlib.suppress(OSError):
                    remove(path)
