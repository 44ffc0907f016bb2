"""The lock on folders that two processes must not write at once; the kernel releases it when its holder dies."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from ensemw2s.errors import RunError
from ensemw2s.storage.files import check_path, explained, refusal

NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
"""Errors of a file system that has no locks, or no more of them."""
MAX_INTERRUPTIONS = 100
PATIENCE_S = 0.2
"""Seconds for which a second process tries: who only looks at a lock (`is_locked`) has it for an instant."""


@contextlib.contextmanager
def run_lock(folder: Path, *, option: str = "--run-dir") -> Iterator[None]:
    """Lock a folder, which is created when missing, for this process.

    Args:
        option: command-line option that names the folder, for messages.

    Raises:
        ConfigError: the path is no UTF-8 text.
        RunError: another process holds it, it cannot be made, or its file system keeps no locks.
    """
    check_path(folder, option)
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".lock"
    try:
        lock = _acquired(path, f"choose a folder on another disk ({option})", timeout=PATIENCE_S)
    except Timeout:
        raise RunError(
            f"{folder}: another process (id {_holder(path)}) is working in this folder; wait for it, or choose another "
            f"{option}"
        ) from None
    try:
        yield
    finally:
        lock.release()


def is_locked(folder: Path) -> bool:
    """Whether a living process holds `run_lock` on a folder. Nothing is written, and nobody is kept waiting."""
    try:
        fd = os.open(folder / ".lock", os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EACCES)
    finally:
        os.close(fd)
    return False


@contextlib.contextmanager
def locked(destination: Path) -> Iterator[None]:
    """Lock `destination`, in the caches of `ENSEMW2S_HOME`; a second process waits.

    Raises:
        RunError: its parent cannot be written, or the file system keeps no locks.
    """
    with explained(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
    path = destination.parent / f".{destination.name}.lock"
    lock = _acquired(path, "set ENSEMW2S_HOME to a folder on another disk", timeout=-1.0)
    try:
        yield
    finally:
        lock.release()


def _acquired(path: Path, mend: str, timeout: float) -> FileLock:
    for _ in range(MAX_INTERRUPTIONS):
        # With something to do on acquisition, the library does not fall back to a lock that outlives its holder.
        lock = FileLock(path, timeout=timeout, on_acquired=_sign)
        try:
            lock.acquire()
            return lock
        except Timeout:
            raise
        except InterruptedError:
            continue
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise refusal(path, error) from error
            raise RunError(
                f"{path}: the file system gives no lock ({error.strerror}), and without one two processes could "
                f"destroy each other's work; {mend}"
            ) from error
    raise RunError(f"{path}: the file system interrupts every attempt to lock it; {mend}")


def _sign(fd: int) -> None:
    """Write the holder's process id into the lock file, for the message of a second process."""
    os.ftruncate(fd, 0)
    os.pwrite(fd, str(os.getpid()).encode(), 0)


def _holder(path: Path) -> str:
    try:
        return path.read_bytes()[:20].decode(errors="replace").strip() or "unknown"
    except OSError:
        return "unknown"
