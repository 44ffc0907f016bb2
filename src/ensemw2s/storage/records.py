"""Records that a folder keeps as JSON, each written and read by one typed class."""

import errno
import json
from collections.abc import Container
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ensemw2s.errors import ModelError

MOST_BYTES = 2**24
"""Largest size of a record that is read."""
MOST_FAULTS = 20
"""Largest number of wrong fields that one message names."""


class Saved(BaseModel):
    """A record in a file. Unknown fields are refused, because this version would not know what they change."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, strict=True
    )

    def text(self) -> str:
        """The record as JSON, as it is written."""
        return self.model_dump_json(indent=2) + "\n"


T = TypeVar("T", bound=Saved)


def read_record(path: Path, kind: type[T], *, mend: str) -> T:
    """Read a record that `Saved.text` wrote.

    Raises:
        ModelError: the file cannot be read or has wrong fields; the message names each, and the mend.
    """
    try:
        if not path.is_file():  # a named pipe would be waited for
            raise ModelError(f"{path}: {'not a file' if path.exists() else 'missing'}; {mend}")
        return kind.model_validate_json(read_small(path))
    except ValidationError as error:
        raise ModelError(f"{path}: damaged ({wrong_fields(error)}); {mend}") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); {mend}") from None


def read_small(path: Path) -> bytes:
    """Content of a record's file. Raises OSError, also where the file is larger than `MOST_BYTES`."""
    if (size := path.stat().st_size) > MOST_BYTES:
        raise OSError(errno.EFBIG, f"it has {size:,} bytes, and a record has {MOST_BYTES:,} at most")
    return path.read_bytes()


def wrong_fields(error: ValidationError, *, tags: Container[str] = ()) -> str:
    """Wrong fields of a record in one line, each with the problem and its value.

    Args:
        error: raised by validating the record.
        tags: discriminator values of a union of records, which pydantic puts before the field's name.
    """
    faults = error.errors(include_url=False)
    shown = [_fault(dict(fault), tags) for fault in faults[:MOST_FAULTS]]
    more = len(faults) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


def _fault(fault: dict, tags: Container[str]) -> str:
    location = fault["loc"][1:] if fault["loc"] and fault["loc"][0] in tags else fault["loc"]
    where = ".".join(map(str, location))[:100]
    message = " ".join(str(fault["msg"]).removeprefix("Value error, ").split())[:200]
    if fault["type"] == "json_invalid":
        return f"not valid JSON ({message})"
    if fault["type"] == "missing":
        return f"the field {where} is missing"
    if fault["type"] == "extra_forbidden":
        return f"the field {where} is unknown to this version"
    shown = " ".join(repr(fault["input"]).split())
    got = "" if isinstance(fault["input"], dict) else f", got {shown[:60]}"
    return f"{where}: {message[:1].lower()}{message[1:]}{got}" if where else message


def json_line(record: dict[str, Any]) -> bytes:
    """One line of JSONL. Raises ValueError or TypeError where the record cannot be written as JSON."""
    # A lone surrogate, as in the name of a file, is written as JSON's escape of it.
    return (json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n").encode(errors="backslashreplace")
