"""What a file must hold: its length and sha256, written down beside it and compared before it is used."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

FILE = "checksums.json"
"""In a folder that carries the checksums of its other files."""
FORMAT = 1
MOST_BYTES = 2**24
"""Of a list that is read."""


def facts(path: Path) -> dict[str, Any]:
    """Length and sha256 of a file. Raises OSError."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"bytes": file.tell(), "sha256": digest}


def facts_of(content: bytes) -> dict[str, Any]:
    """Of a file that will hold this."""
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def file_fault(path: Path, entry: object, *, sizes_only: bool = False) -> str | None:
    """What is wrong with a file that must be as `entry` says; None where nothing is. Costs one read of the file."""
    name = path.name
    if not isinstance(entry, dict) or not {"bytes", "sha256"} <= entry.keys():
        return f"the checksum of {name} is unreadable"
    try:
        if not path.is_file():  # a named pipe would be waited for
            return f"{name} is not a file" if path.exists() else f"{name} is missing"
        size = path.stat().st_size
        if size != entry["bytes"]:
            return f"{name} has {size} bytes, not {entry['bytes']}"
        if not sizes_only and facts(path)["sha256"] != entry["sha256"]:
            return f"{name} is not what was written (its sha256 differs)"
    except OSError as error:
        return f"{name} cannot be read ({error.strerror})"
    return None


def files_fault(folder: Path, files: object, *, sizes_only: bool = False) -> str | None:
    """The first fault of these files of a folder, by name to facts; None where all are as they were."""
    if not isinstance(files, Mapping) or not all(_inside(name) for name in files):
        return "the list of its files is unreadable"
    found = (file_fault(folder / name, entry, sizes_only=sizes_only) for name, entry in files.items())
    return next((fault for fault in found if fault), None)


def checksums_of(folder: Path, names: Iterable[str] | None = None) -> str:
    """The content of `checksums.json` for these files of a folder; None: all that are there."""
    if names is None:
        paths = (p for p in folder.rglob("*") if p.is_file())
        names = (p.relative_to(folder).as_posix() for p in paths if p.name != FILE)
    files = {name: facts(folder / name) for name in sorted(names)}
    return json.dumps({"format": FORMAT, "files": files}, indent=1) + "\n"


def folder_fault(folder: Path, required: Iterable[str] = ()) -> str | None:
    """What is wrong with a folder that carries its checksums; None where nothing is.

    Args:
        required: files that must be among them.
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
    """Name to facts of the files that a folder has checksums of; None where they cannot be read."""
    path = folder / FILE
    try:
        record = json.loads(path.read_bytes()) if path.stat().st_size <= MOST_BYTES else {}
        return dict(record["files"]) if record["format"] == FORMAT else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _inside(name: object) -> bool:
    """Whether it names a file below a folder."""
    if not isinstance(name, str) or not name or "\0" in name:
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts
