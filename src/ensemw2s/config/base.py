"""What all sections of a configuration share."""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_serializer

from ensemw2s.text import is_text

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1)]
Text = Annotated[str, Field(min_length=1)]


class Frozen(BaseModel):
    """A section: immutable, strict about its keys, every attribute documented."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    younger: ClassVar[tuple[str, ...]] = ()
    """Settings that count only where they are used: at its default, one of these is left out of what is written, so
    that a configuration keeps the hash that it had before them, and with it its run folder."""

    @model_serializer(mode="wrap")
    def _without_unused(self, dumped: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        fields = type(self).model_fields
        unused = {
            name for name in self.younger if getattr(self, name) == fields[name].get_default(call_default_factory=True)
        }
        return {name: value for name, value in dumped(self).items() if name not in unused}

    @field_validator("*", mode="before")
    @classmethod
    def _unicode(cls, value: Any) -> Any:
        # Files, tokenizers and hashes take no others; pydantic's own message for half a character is less plain.
        each = value if isinstance(value, list | tuple) else (value,)
        if bad := [text for text in each if isinstance(text, str) and not is_text(text)]:
            raise ValueError(f"no Unicode text: {bad[0]!r} has a NUL or half a character; write it anew")
        return value
