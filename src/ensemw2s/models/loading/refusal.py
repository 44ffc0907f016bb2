"""The library's loading errors, turned into a ModelError."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from ensemw2s.errors import ModelError

LOADING_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    RuntimeError,
    ImportError,
    SafetensorError,
    # Raised by the library where a file of valid JSON holds something unexpected.
    TypeError,
    AttributeError,
    IndexError,
    AssertionError,
    ArithmeticError,
    StrictDataclassError,
)


@contextlib.contextmanager
def explained(name: str, folder: Path) -> Iterator[None]:
    """Turn the library's many loading errors into one ModelError that names the folder."""
    try:
        yield
    except LOADING_ERRORS as error:
        reason = " ".join(str(error).split())[:300]
        if "trust_remote_code" in str(error):
            raise ModelError(
                f"{name}: the model runs code of its own repository, which is refused by default; read that "
                f"code, then set trust_remote_code_from: {name} (of predict and label: --trust-remote-code-from)"
            ) from None
        is_dtype = "bfloat16" in reason.casefold()
        mend = "set dtype: float32 for this model" if is_dtype else "check the folder or fetch it again"
        raise ModelError(f"{name}: the model in {folder} cannot be loaded: {reason}; {mend}") from error
