"""When two texts are one to a reader, however they are encoded: questions, classes and answers are compared so."""

import re
import unicodedata

KEPT = ("<super>", "<sub>", "<fraction>")
"""Compatibility characters that mean something else than their plain form: 10² is not 102, 1½ not 11/2."""
_INVISIBLE = re.compile(
    "[\x80-\x84\x86-\x9f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e01ef]"
)


def alike(text: str) -> str:
    """What all spellings of a text share: one Unicode form, no case, single spaces, no invisible characters.

    >>> alike("  Sí\\u200b ") == alike("SÍ"), alike("10²") == alike("102")
    (True, False)
    """
    if text.isascii():
        return " ".join(text.casefold().split())
    text = unicodedata.normalize("NFC", _INVISIBLE.sub("", text))
    if not unicodedata.is_normalized("NFKC", text):
        text = unicodedata.normalize("NFC", "".join(map(_plain, text)))
    # Folding may open letters that the form joins.
    return " ".join(unicodedata.normalize("NFC", text.casefold()).split())


def _plain(character: str) -> str:
    if unicodedata.decomposition(character).startswith(KEPT):
        return character
    return unicodedata.normalize("NFKC", character)
