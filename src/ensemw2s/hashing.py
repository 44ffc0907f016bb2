"""The sha256 of settings, of bytes and of files."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel


def canonical_hash(value: Any) -> str:
    """sha256 of a value's canonical JSON; equal for equal settings, whatever the order or spelling of the file."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return sha256_of(text.encode())


def sha256_of(content: bytes) -> str:
    """sha256 of these bytes, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def file_sha256(path: Path) -> str:
    """sha256 of a file's content, read block by block. Raises OSError."""
    return file_digest(path)[0]


def file_digest(path: Path) -> tuple[str, int]:
    """sha256 of a file's content and its length in bytes, from one reading. Raises OSError."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return digest, file.tell()
