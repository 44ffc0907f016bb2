"""Pieces that settings choose by name, each with its options."""

from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter, ValidationError

Options = dict[str, int | float | str]


def make_piece(kind: type[Any], name: str, option_setting: str, options: Options) -> Any:
    """A piece with its options. Raises ValueError naming the options that it has."""
    known = [f.name for f in fields(kind) if f.name != "needs_stats"]
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"{option_setting}: {name} has no {unknown[0]!r}; it has {', '.join(known) or 'none'}")
    try:
        return TypeAdapter(kind).validate_python(options)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in (option_setting, *first["loc"]))
        raise ValueError(f"{place}: {first['msg']}, got {first['input']!r}") from None


def each_option(options: Options) -> list[str]:
    return [f"{option}={value}" for option, value in options.items()]


def shown(name: str, options: Options) -> str:
    text = ",".join(each_option(options))
    return f"{name}[{text}]" if text else name
