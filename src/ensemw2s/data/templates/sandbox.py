"""A sandbox for prompt templates in a part of Jinja, with bounds on their work and on the size of their values.

A template may come with a folder from elsewhere. The language has only constructs that terminate (no macros, no calls
but a few methods, no recursion), passes of loops are counted, and operations that make long values are checked first.
"""

import itertools
import re
from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from functools import wraps
from typing import Any

from jinja2 import StrictUndefined, Undefined
from jinja2.filters import FILTERS
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ensemw2s.data.templates import contrast
from ensemw2s.data.templates.syntax import FILTER_NAMES, ITEMS, JOINED, METHODS, NUMBER, PASSED, WEIGHED

WORK = 2**25
"""Largest number of characters that filters and methods may process for one prompt; each call and each pass of a loop
counts as CALL characters or more."""
CALL = 16
CHARACTERS = 2**22
"""Largest number of characters of a value that a filter or method takes or makes."""

SIZED = ("batch", "indent", "round", "tojson")
"""Filters whose output size is set by a number."""
ITERATING = (
    *("batch", "groupby", "join", "list", "map", "max", "min", "reject", "rejectattr", "select", "selectattr", "sort"),
    *("sum", "unique"),
)
"""Filters that iterate over the letters of a text."""
WIDTHS = re.compile(r"%(\([^)]*\))?[-+ #0]*(\*|\d{4,}|\d*\.(\*|\d{4,}))")


class TooMuch(Exception):
    """A template exceeds a bound, which the argument names."""


class Sandbox(ImmutableSandboxedEnvironment):
    """A Jinja environment with the bounds of this module."""

    intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%"])

    def __init__(self, finalize: Callable[[Any], Any]):
        super().__init__(undefined=StrictUndefined, finalize=finalize, keep_trailing_newline=True)
        self.globals.clear()  # every name is a column
        known = {**FILTERS, "shared": contrast.shared, "only": contrast.only}
        self.filters = {name: self._bounded(name, known[name]) for name in FILTER_NAMES}
        self.filters |= {PASSED: self._each, JOINED: self._concatenated, WEIGHED: self._weighed}
        self._left = self._pass_cost = 0
        self.begin(1)

    def begin(self, n_tokens: int) -> None:
        """Reset the allowance of work for a new prompt. A pass of a loop costs as much as the whole template may."""
        self._left, self._pass_cost = WORK, CALL * n_tokens

    def spend(self, work: int) -> None:
        self._left -= work
        if self._left < 0:
            raise TooMuch("it does more work than a prompt can need")

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if isinstance(left, Undefined) or isinstance(right, Undefined):
            return super().call_binop(context, operator, left, right)
        if operator == "%" and isinstance(left, str):
            return self._formatted(left, right if isinstance(right, tuple) else (right,))
        if not all(isinstance(value, int | float) for value in (left, right)):
            if operator != "+":
                raise TypeError(f"{operator} takes numbers, not {type(left).__name__} and {type(right).__name__}")
            self._measure(left, right)
        found = super().call_binop(context, operator, left, right)
        if isinstance(found, int) and abs(found) > NUMBER:
            raise TooMuch(f"it computes a number beyond {NUMBER:,}")
        return found

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Methods of texts and mappings, bounded as the filters are."""
        name, owner = getattr(__obj, "__name__", ""), getattr(__obj, "__self__", None)
        if isinstance(__obj, Undefined) or name == "cycle":
            return super().call(__context, __obj, *args, **kwargs)
        if name not in METHODS or not isinstance(owner, str | dict):
            raise TypeError(f"{name or type(__obj).__name__} is nothing that a prompt template calls")
        n_characters = __self._measure(owner, *args, *kwargs.values())
        __self._check_growth(name, n_characters, [owner, *args] if name != "join" else [*args, owner], kwargs)
        return _limited(__obj(*args, **kwargs))

    def _bounded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A filter of the library whose output size is checked before it runs."""
        n_own = int(hasattr(function, "jinja_pass_arg"))  # its first argument may be the environment

        @wraps(function)
        def bounded(*args: Any, **kwargs: Any) -> Any:
            given = list(args[n_own:])
            n_characters = self._measure(*given, *kwargs.values())
            if name == "format":
                return self._formatted(given[0], kwargs or tuple(given[1:]))
            self._check_growth(name, n_characters, given, kwargs)
            return _limited(function(*args, **kwargs))

        return bounded

    def _check_growth(self, name: str, n_characters: int, given: list[Any], kwargs: dict[str, Any]) -> None:
        """Refuse operations that would make a long text from short ones."""
        grown = 0
        rest = [*given[1:], *kwargs.values()]
        if name in SIZED and any(isinstance(value, int) and abs(value) > ITEMS // 100 for value in rest):
            raise TooMuch(f"`{name}` by more than {ITEMS // 100}")
        if name in ITERATING and isinstance(given[0], str) and len(given[0]) > ITEMS:
            raise TooMuch(f"`{name}` takes a text letter by letter, and of {ITEMS:,} letters at most")
        texts = [value for value in rest if isinstance(value, str)]
        longest = max(map(len, texts), default=0)
        if name == "join":
            items = given[0]
            grown = longest * (len(items) if isinstance(items, str | list | tuple | dict) else 0)
        elif name == "indent":
            grown = (str(given[0]).count("\n") + 1) * max(longest, ITEMS // 100)
        elif name == "replace" and len(texts) > 1:
            grown = (str(given[0]).count(texts[0]) if texts[0] else n_characters + 1) * longest
        if n_characters + grown > CHARACTERS:
            raise TooMuch(f"`{name}` makes a text of more than {CHARACTERS:,} characters")
        self.spend(grown)

    def _formatted(self, text: Any, values: Any) -> str:
        text = str(text)
        each = list(values.values() if isinstance(values, dict) else values)
        n_characters = self._measure(text, *each)
        if WIDTHS.search(text) or text.count("%") * (1000 + n_characters) > CHARACTERS:
            raise TooMuch("`format` makes a text that is too long")
        return text % values

    def _each(self, value: Any) -> list[Any]:
        """The items of a loop, at most ITEMS."""
        found = list(itertools.islice(value, ITEMS + 1))
        if len(found) > ITEMS:
            raise TooMuch(f"a loop of more than {ITEMS:,} passes")
        self.spend(len(found) * self._pass_cost)
        return found

    def _concatenated(self, values: list[Any]) -> str:
        self._measure(*values)
        return "".join(map(str, values))

    def _weighed(self, value: Any) -> Any:
        self.spend(CALL + (len(value) if isinstance(value, str | list | tuple | dict) else 0))
        return value

    def _measure(self, *values: Any) -> int:
        """Number of characters of the arguments of a filter or method, written out."""
        n_characters = n_items = 0
        waiting = list(values)
        while waiting:
            value = waiting.pop()
            n_items += 1
            if isinstance(value, str):
                n_characters += len(value)
            elif isinstance(value, dict | list | tuple):
                n_items += len(value)
                if n_items <= ITEMS:
                    waiting += [*value, *value.values()] if isinstance(value, dict) else value
            if n_items > ITEMS or n_characters > CHARACTERS:
                what = f"{ITEMS:,} items" if n_items > ITEMS else f"{CHARACTERS:,} characters"
                raise TooMuch(f"more than {what} at once; cut the value first, as in {{{{ passage[:2000] }}}}")
        self.spend(CALL * len(values) + n_characters + n_items)
        return n_characters


def _limited(value: Any) -> Any:
    """Output of a filter or method within the bounds: a plain string, or a list in place of an iterator."""
    if isinstance(value, str):
        if len(value) > CHARACTERS:
            raise TooMuch(f"a text of more than {CHARACTERS:,} characters")
        return str(value)
    if isinstance(value, Iterator | KeysView | ValuesView | ItemsView):
        value = list(itertools.islice(value, ITEMS + 1))
    if isinstance(value, list) and len(value) > ITEMS:
        raise TooMuch(f"a list of more than {ITEMS:,} items")
    return value
