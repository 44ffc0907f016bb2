"""Checksums of files: length and sha256, written beside a file and compared before it is used."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ensemw2s.hashing import file_digest, sha256_of

FILE = "checksums.json"
"""File in a folder that lists the checksums of its other files."""
FORMAT = 1
MOST_BYTES = 2**24
"""Largest size of a list of checksums that is read."""
LARGE = 2**24
"""Files of at least this many bytes are hashed once in a process, as long as nothing changes them."""
_read: dict[tuple[int, ...], dict[str, Any]] = {}
"""Checksums of large files, by the properties of a file that the kernel updates when it changes."""


def facts(path: Path) -> dict[str, Any]:
    """Length and sha256 of a file. An unchanged large file is read once in a process. Raises OSError."""
    state = path.stat()
    if state.st_size < LARGE:  # quickly read, and perhaps changed within one tick of the kernel's clock
        return _facts(path)
    # The time of the last change cannot be set, unlike that of the last writing.
    key = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    if key not in _read:
        _read[key] = _facts(path)
    return _read[key]


def _facts(path: Path) -> dict[str, Any]:
    digest, n_bytes = file_digest(path)
    return {"bytes": n_bytes, "sha256": digest}


def facts_of(content: bytes) -> dict[str, Any]:
    """Length and sha256 of a file with this content."""
    return {"bytes": len(content), "sha256": sha256_of(content)}


def file_fault(path: Path, entry: object) -> str | None:
    """Why a file differs from its checksum `entry`; None where it does not."""
    name = path.name
    if not isinstance(entry, dict) or not {"bytes", "sha256"} <= entry.keys():
        return f"the checksum of {name} is unreadable"
    try:
        if not path.is_file():  # a named pipe would be waited for
            return f"{name} is not a file" if path.exists() else f"{name} is missing"
        size = path.stat().st_size
        if size != entry["bytes"]:
            return f"{name} has {size} bytes, not {entry['bytes']}"
        if facts(path)["sha256"] != entry["sha256"]:
            return f"{name} is not what was written (its sha256 differs)"
    except OSError as error:
        return f"{name} cannot be read ({error.strerror})"
    return None


def files_fault(folder: Path, files: object) -> str | None:
    """First fault among these files of a folder (name to checksum); None where there is none."""
    if not isinstance(files, Mapping) or not all(_inside(name) for name in files):
        return "the list of its files is unreadable"
    faults = (file_fault(folder / name, entry) for name, entry in files.items())
    return next((fault for fault in faults if fault), None)


def checksums_of(folder: Path, names: Iterable[str] | None = None) -> str:
    """Content of `checksums.json` for these files of a folder; None takes all files in it."""
    if names is None:
        paths = (p for p in folder.rglob("*") if p.is_file())
        names = (p.relative_to(folder).as_posix() for p in paths if p.name != FILE)
    return content_of({name: facts(folder / name) for name in names})


def content_of(files: Mapping[str, Any]) -> str:
    """Content of `checksums.json` for these files (name to checksum)."""
    return json.dumps({"format": FORMAT, "files": dict(sorted(files.items()))}, indent=1) + "\n"


def folder_fault(folder: Path, required: Iterable[str] = ()) -> str | None:
    """Why a folder differs from its `checksums.json`; None where it does not.

    Args:
        required: files that must be listed.
    """
    if not (folder / FILE).is_file():
        return f"{FILE} is missing"
    if (files := listed(folder)) is None:
        return f"{FILE} is unreadable"
    if absent := sorted(set(required) - files.keys()):
        return f"{FILE} does not list {absent[0]}"
    fault = files_fault(folder, files)
    return f"{fault}, says {FILE}" if fault else None


def listed(folder: Path) -> dict[str, Any] | None:
    """Checksums by file name from a folder's `checksums.json`; None where it cannot be read."""
    path = folder / FILE
    try:
        record = json.loads(path.read_bytes()) if path.stat().st_size <= MOST_BYTES else {}
        return dict(record["files"]) if record["format"] == FORMAT else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _inside(name: object) -> bool:
    """Whether a name is that of a file below the folder."""
    if not isinstance(name, str) or not name or "\0" in name:
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts
