"""Escaping of text from outside for terminals, Markdown, JSON, spreadsheets, shells and file names."""

import json
import re
import shlex
import unicodedata
from collections.abc import Sequence

_OBEYED = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories of invisible characters with an effect: controls, direction marks, lone surrogates."""
_JOINERS = "\u200c\u200d"
"""Zero-width (non-)joiners, which Persian, Indian scripts and emoji need."""
_UNUSUAL = re.compile(r"[^ -~]")
_MARKDOWN = re.compile(r"([\\`*<>&|]|\[(?![\d+-])|(?<=\])\()")
_FORMULA = re.compile(r"'*\s*[=+\-@\t\r\n＝＋－＠]")
"""Text that a spreadsheet takes for a formula, after any number of apostrophes."""
MAX_NAME_BYTES = 200
"""Largest length of a name. File systems allow 255 bytes, and suffixes are appended."""


def visible(text: str, *, keep: str = "") -> str:
    r"""The text on one line, with `\x1b`, `\n` or `\u202e` in the place of characters that a terminal would obey.

    Args:
        keep: control characters that are kept.

    >>> visible("a\x1b[31mb\n")
    'a\\x1b[31mb\\n'
    """
    if text.isprintable():
        return text
    return "".join(c.encode("unicode_escape").decode() if _is_obeyed(c) and c not in keep else c for c in text)


def visible_json(text: str, encoding: str) -> str:
    r"""The same JSON with escapes for characters that a terminal would obey or the encoding lacks.

    >>> visible_json('"caf\xe9 \u202e"', "ascii")
    '"caf\\u00e9 \\u202e"'
    """

    def escaped(match: re.Match[str]) -> str:
        char = match[0]
        return json.dumps(char)[1:-1] if _is_obeyed(char) or not _can_write(char, encoding) else char

    return _UNUSUAL.sub(escaped, text)


def shell_line(arguments: Sequence[str]) -> str:
    r"""The arguments as a command on one line that can be pasted into bash or zsh.

    >>> shell_line(["ensemw2s", "my run", "a\nb"])
    "ensemw2s 'my run' $'a\\nb'"
    """
    return " ".join(map(_quoted, arguments))


def _quoted(argument: str) -> str:
    if visible(argument) == argument:
        return shlex.quote(argument)
    plain = argument.replace("\\", r"\\").replace("'", r"\'")
    return f"$'{visible(plain)}'"


def markdown(text: str) -> str:
    r"""The text on one line of Markdown, in a cell of a table too, as itself: no markup, no HTML.

    >>> markdown("a|b <i>")
    'a\\|b \\<i\\>'
    """
    return _MARKDOWN.sub(r"\\\1", visible(text))


def to_cell(text: str) -> str:
    """The text for a cell of a CSV file: behind an apostrophe where a spreadsheet would take it for a formula.

    >>> to_cell("=1+1"), to_cell("'=1+1"), to_cell("1+1")
    ("'=1+1", "''=1+1", '1+1')
    """
    return f"'{text}" if _FORMULA.match(text) else text


def from_cell(cell: str) -> str:
    """Inverse of `to_cell`; a formula that was typed into the cell is kept as it is."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def is_text(text: str) -> bool:
    """Whether a string can be written as UTF-8 and has no NUL, at which C strings end."""
    return not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text)


def name_problem(name: str) -> str | None:
    """Why a text is not the plain name of a file or folder; None where it is."""
    if not name.strip():
        return "it is empty"
    if name in (".", "..") or "/" in name or "\\" in name:
        return "it leads to another folder; leave out slashes and backslashes"
    if any(map(_is_obeyed, name)):
        return "it has control characters, or others that are not seen; leave them out"
    if name != name.strip() or name.endswith("."):
        return "it begins or ends with a space, or ends with a dot; leave that out"
    if (n := len(name.encode())) > MAX_NAME_BYTES:
        return f"it has {n} bytes; shorten it to {MAX_NAME_BYTES}"
    return None


def _is_obeyed(char: str) -> bool:
    return unicodedata.category(char) in _OBEYED and char not in _JOINERS


def _can_write(char: str, encoding: str) -> bool:
    try:
        char.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
