"""Template filters that compare two fields word by word, as CorDEL does before it encodes them (2009.07237)."""

from typing import Any


def shared(first: Any, second: Any) -> str:
    """Words of the first text that the second has, too, each once, in their order.

    >>> shared("New York City", "city of new york"), only("New York City", "Newark")
    ('New York City', 'New York City')
    """
    others = _words(second)
    return " ".join(word for key, word in _words(first).items() if key in others)


def only(first: Any, second: Any) -> str:
    """Words of the first text that the second has not, each once, in their order.

    >>> only("Port Stanley", "Stanley"), only("Stanley", "Port Stanley")
    ('Port', '')
    """
    others = _words(second)
    return " ".join(word for key, word in _words(first).items() if key not in others)


def _words(text: Any) -> dict[str, str]:
    """Words as they are written, by what they are compared by."""
    if isinstance(text, bool) or not isinstance(text, str | int):
        raise TypeError(f"shared and only compare texts and whole numbers, not {type(text).__name__}")
    words: dict[str, str] = {}
    for word in str(text).split():
        words.setdefault(word.casefold(), word)
    return words
