"""Cached folders below `ENSEMW2S_HOME`: checked at every use and made again when damaged."""

import os
from collections.abc import Callable
from pathlib import Path

from ensemw2s.storage.checksums import FILE, checksums_of, folder_fault
from ensemw2s.storage.files import new_folder
from ensemw2s.storage.locks import locked


def cached_folder(
    folder: Path,
    make: Callable[[Path], object],
    *,
    echo: Callable[[str], object],
    fault: Callable[[Path], str | None] = folder_fault,
) -> Path:
    """The folder as `make` wrote it. Of two processes the second waits for the first.

    Args:
        make: writes into an empty folder, which is renamed to `folder` after it returns.
        echo: called with a message before a damaged folder is made again.
        fault: returns what is wrong with a folder, None if nothing. The default compares checksums, which are then
            written here.

    Raises:
        RunError: the disk refuses, or the file system keeps no locks.
    """
    if folder.is_dir() and fault(folder) is None:
        return folder
    with locked(folder):
        problem = fault(folder) if os.path.lexists(folder) else ""
        if problem is None:
            return folder
        if problem:
            echo(f"{folder}: damaged ({problem}); it is made again")
        with new_folder(folder) as temporary:
            make(temporary)
            if fault is folder_fault:
                (temporary / FILE).write_text(checksums_of(temporary), encoding="utf-8")
    return folder
