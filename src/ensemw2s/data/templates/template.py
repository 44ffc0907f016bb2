"""Prompt templates: Jinja over the columns of a row, checked against them before any work."""

import difflib
import traceback
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError, Undefined, nodes
from jinja2.meta import find_undeclared_variables

from ensemw2s.data.templates.sandbox import CHARACTERS, Sandbox, TooMuch
from ensemw2s.data.templates.syntax import bounded, parse
from ensemw2s.errors import DataError

FILLING_ERRORS = (
    *(TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError),
    AssertionError,  # so the library checks the arguments of some filters
)


class _Unprintable(Exception):
    """A value that cannot be written into a prompt, in the argument."""


def _shown(value: Any) -> Any:
    """Allow `{{ ... }}` to write text and whole numbers alone; "None" or "True" in a prompt is an error in the data."""
    if isinstance(value, Undefined):
        return value  # Jinja says better what is missing
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _Unprintable(value)
    if isinstance(value, str):
        value.encode()
    return value


_SANDBOX = Sandbox(_shown)


class Template:
    """A prompt template. `{{ question }}` is a column; `{{ row["Its text"] }}` one whose name is not a Jinja name.

    Raises:
        DataError: it is malformed, or names no column.
    """

    def __init__(self, text: str):
        shown = f"prompt template {text if len(text) <= 500 else text[:500] + '…'!r}"
        try:
            tree, self._n_tokens = parse(_SANDBOX, text)
            self.columns = _columns(tree, shown)
            """Columns that it reads, each with its line in the template."""
            self._compiled = _SANDBOX.template_class.from_code(
                _SANDBOX, _SANDBOX.compile(bounded(_SANDBOX, tree)), _SANDBOX.make_globals(None)
            )
        except TemplateSyntaxError as error:
            raise DataError(
                f"{shown}, line {error.lineno}: {error.message}; write a column as {{{{ name }}}}, and two braces that "
                "mean themselves as {{ '{{' }}"
            ) from None
        if not self.columns:
            raise DataError(f"{shown}: name at least one column, as {{{{ name }}}}")

    def render(self, place: str, row: Mapping[str, Any]) -> str:
        """The template filled with a row's columns.

        Raises:
            DataError: a column is missing, what is to be written is neither text nor a whole number, or the result is
                empty; the message begins with `place`.
        """
        for column, line in self.columns.items():
            if column not in row:
                raise DataError(f"{place}: {no_column(column, row, f'line {line} of the prompt template')}")
        values = {column: row[column] for column in self.columns}
        empty = f"{place}: its prompt is empty; give it a text or delete the row"
        # "Question: " with nothing after it is no question. Of a null alone the template says more.
        if all(map(_is_nothing, values.values())) and any(value is not None for value in values.values()):
            raise DataError(empty)
        try:
            prompt = self._filled(values | {"row": values})
        except _Unprintable as error:
            value = error.args[0]
            raise DataError(
                f"{_where(place, values, value)}: expected text, got {value!r} ({type(value).__name__}); mend the "
                "value, or write it with a filter, such as {{ names | join(', ') }}"
            ) from None
        except UnicodeEncodeError as error:  # JSON can escape half of a character
            text = error.object
            raise DataError(f"{_where(place, values, text)}: {text!r} is not valid Unicode; mend the value") from None
        except TooMuch as error:
            raise DataError(
                f"{place}: the prompt template asks for too much{_line_of(error)} ({error}); simplify it, or shorten "
                "the value"
            ) from None
        except FILLING_ERRORS as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(
                f"{place}: the prompt template cannot be filled{_line_of(error)} ({reason}); mend the template or the "
                "row"
            ) from None
        if not prompt.strip():
            raise DataError(empty)
        return prompt

    def _filled(self, values: Mapping[str, Any]) -> str:
        _SANDBOX.begin(self._n_tokens)
        parts: list[str] = []
        n_characters = 0
        for part in self._compiled.generate(values):
            n_characters += len(part)
            if n_characters > CHARACTERS:
                raise TooMuch(f"a prompt of more than {CHARACTERS:,} characters")
            parts.append(part)
        return "".join(parts)


@lru_cache(maxsize=8)
def template(text: str) -> Template:
    """Parse a template; cached, so that a file of any length parses it once."""
    return Template(text)


def no_column(column: str, row: Collection[str], asked_by: str) -> str:
    """Message that a column is missing, with its place in the template and the most similar column."""
    near = difflib.get_close_matches(column, row, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"its columns are {', '.join(map(repr, row))}"
    return f"there is no column {column!r} ({asked_by}); {hint}"


def _columns(tree: nodes.Template, shown: str) -> dict[str, int]:
    """Columns that are read, each with the line of its first use."""
    free = find_undeclared_variables(tree)
    found: dict[str, int] = {}
    subscripts = {id(node.node): node.arg for node in tree.find_all(nodes.Getitem)}
    for node in tree.find_all(nodes.Name):
        column = node.name
        if column not in free:
            continue
        if column == "row":
            subscript = subscripts.get(id(node))
            if not isinstance(subscript, nodes.Const) or not isinstance(subscript.value, str):
                raise DataError(
                    f'{shown}, line {node.lineno}: `row` takes the name of a column; write {{{{ row["its name"] }}}}'
                )
            column = subscript.value
        found.setdefault(column, node.lineno)
    return found


def _is_nothing(value: Any) -> bool:
    return value is None or value in ("", [], {}) or (isinstance(value, str) and not value.strip())


def _where(place: str, values: Mapping[str, Any], value: Any) -> str:
    """The place with the name of the column, where the value is a column's."""
    columns = [column for column, own in values.items() if own is value]
    return f"{place}, column {columns[0]!r}" if columns else place


def _line_of(error: BaseException) -> str:
    """Line of the template where an error was raised, as far as the library knows."""
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == "<template>"]
    return f" at its line {lines[-1]}" if lines else ""
