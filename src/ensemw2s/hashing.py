"""The sha256 of settings and of files."""

import hashlib
import json
from typing import Any

from pydantic import BaseModel


def canonical_hash(value: Any) -> str:
    """sha256 of a value's canonical JSON; equal for equal settings, whatever the order or spelling of the file."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
