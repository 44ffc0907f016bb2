"""Files that become visible only when whole, and the lock that keeps two processes out of one run folder."""

import errno
import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ensemw2s.errors import RunError


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Temporary name, fsync, rename, fsync the folder.

    Raises:
        RunError: the disk is full, or the folder is read-only or not a folder.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write at `path` into a RunError with its mend."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            mend = "the disk is full; free some space and run the same command again, nothing finished is lost"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            mend = "the place is read-only for this user; choose another (--run-dir, --output or ENSEMW2S_HOME)"
        elif error.errno in (errno.ENOTDIR, errno.EEXIST):
            mend = "a file stands where a folder is needed; move it away or choose another folder"
        else:
            raise RunError(
                f"{path}: cannot be written ({error}); check the disk and run the same command again"
            ) from error
        raise RunError(f"{path}: cannot be written ({error.strerror}): {mend}") from error


@contextmanager
def run_lock(run_dir: Path, *, option: str = "--run-dir") -> Iterator[None]:
    """Hold the run folder for this process; the kernel releases it when the process dies, however it dies.

    Args:
        run_dir: made when missing.
        option: of the command line, by which another folder can be chosen.

    Raises:
        RunError: another process holds it, or the folder cannot be made.
    """
    with explained(run_dir):
        run_dir.mkdir(parents=True, exist_ok=True)
        fd = os.open(run_dir / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 20, 0).decode(errors="replace").strip() or "unknown"
            raise RunError(
                f"{run_dir}: another process (id {holder}) is working in this folder; wait for it, or choose "
                f"another {option}"
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(fd)
