"""Pictures in prompts: written as Markdown, `![](path)`, so that a prompt stays a string everywhere.

Whoever loads a prompt appends the sha256 of the file, `![](a.png#3f2a...)`. What decides a result is then in the prompt
itself, and two files of one content are one picture, wherever they lie.
"""

import re
from collections.abc import Callable
from pathlib import Path

from ensemw2s.errors import DataError
from ensemw2s.hashing import sha256_of

_PICTURE = re.compile(r"!\[\]\((?P<path>[^()\n]+?)(?:#(?P<digest>[0-9a-f]{64}))?\)")
_SHORT = re.compile(r"!\[\]\(([^()\n]+)\)")
SHOWN_DIGITS = 8


def has_picture(prompt: str) -> bool:
    """Whether a prompt holds a picture.

    >>> has_picture("![](a.png)"), has_picture("[a](a.png)")
    (True, False)
    """
    return "![](" in prompt and _PICTURE.search(prompt) is not None


def is_picture(prompt: str) -> bool:
    """Whether a prompt is exactly one picture."""
    return _PICTURE.fullmatch(prompt.strip()) is not None


def pictures_of(prompt: str) -> list[tuple[str, str | None]]:
    """The path and the content's sha256, where it is told, of each picture of a prompt, in order."""
    return [(match["path"], match["digest"]) for match in _PICTURE.finditer(prompt)]


def split_at_pictures(prompt: str) -> list[str]:
    """The texts before, between and behind the pictures of a prompt: one more than there are pictures."""
    texts, start = [], 0
    for match in _PICTURE.finditer(prompt):
        texts.append(prompt[start : match.start()])
        start = match.end()
    return [*texts, prompt[start:]]


def written(path: Path, digest: str | None = None) -> str:
    """A picture as it stands in a prompt.

    Raises:
        DataError: the path holds a parenthesis or a line break, which would end it.
    """
    text = f"![]({path}#{digest})" if digest else f"![]({path})"
    if pictures_of(text) != [(str(path), digest)]:
        raise DataError(f"{str(path)!r}: a picture's path must hold no parenthesis and no line break; rename the file")
    return text


def folder_of(path: str) -> Path:
    """The folder that the pictures of a data file count from: its own; the current one for a name on the hub."""
    place = Path(path)
    return place if place.is_dir() else place.parent if place.exists() else Path()


def placed(prompt: str, folder: Path, place: str) -> str:
    """The prompt with every picture's path made whole, from `folder` on, and its content's sha256 appended.

    Raises:
        DataError: there is no such file, or its content is another than the prompt says; `place` names the row.
    """

    def stamped(match: re.Match[str]) -> str:
        path = (folder / match["path"]).absolute()
        digest = sha256_of(content(path, place))
        if match["digest"] not in (None, digest):
            raise DataError(f"{place}: the picture {path} has changed since the prompt was made; load the data again")
        return written(path, digest)

    return _replaced(prompt, stamped)


def content(path: Path, place: str) -> bytes:
    """The bytes of a picture's file. Raises DataError where it cannot be read."""
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(
            f"{place}: the picture {path} cannot be read ({reason}); paths are relative to the data file, so put the "
            "picture there, or mend the prompt"
        ) from None


def by_content(prompt: str) -> str:
    """The prompt with the content of its pictures in the place of their paths: equal for equal pictures anywhere."""
    return _replaced(prompt, lambda match: f"![](#{match['digest']})" if match["digest"] else match[0])


def shown(prompt: str) -> str:
    """The prompt for a reader: each picture by its `short_name`."""
    return _replaced(prompt, lambda match: f"![]({short_name(match['path'], match['digest'])})")


def short_name(path: str, digest: str | None) -> str:
    """A picture's file by its name alone, with the first digits of its content's hash.

    >>> short_name("/data/a.png", "3f2a" * 16)
    'a.png#3f2a3f2a'
    """
    return f"{Path(path).name}#{digest[:SHOWN_DIGITS]}" if digest else Path(path).name


def at_short_names(text: str) -> list[tuple[str, str | None]]:
    """What `shown` gave, cut at its pictures: each text, and the short name of the picture behind it; None at the end.

    >>> at_short_names("Is ![](a.png#3f2a3f2a) a cat?")
    [('Is ', 'a.png#3f2a3f2a'), (' a cat?', None)]
    """
    parts = _SHORT.split(text)
    return [(parts[i], parts[i + 1] if i + 1 < len(parts) else None) for i in range(0, len(parts), 2)]


def _replaced(prompt: str, by: Callable[[re.Match[str]], str]) -> str:
    return _PICTURE.sub(by, prompt) if "![](" in prompt else prompt
