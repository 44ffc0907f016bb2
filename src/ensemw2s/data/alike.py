"""Comparison of texts by what a reader sees, whatever their encoding; used for questions, classes and answers."""

import re
import unicodedata

KEPT = ("<super>", "<sub>", "<fraction>")
"""Compatibility characters that differ in meaning from their plain form: 10² is not 102, 1½ not 11/2."""
_INVISIBLE = re.compile(
    "[\x80-\x84\x86-\x9f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e01ef]"
)


def alike(text: str) -> str:
    """Canonical spelling of a text: one Unicode form, no case, single spaces, no invisible characters.

    >>> alike("  Sí\\u200b ") == alike("SÍ"), alike("10²") == alike("102")
    (True, False)
    """
    if text.isascii():
        return " ".join(text.casefold().split())
    text = unicodedata.normalize("NFC", _INVISIBLE.sub("", text))
    if not unicodedata.is_normalized("NFKC", text):
        text = unicodedata.normalize("NFC", "".join(map(_plain, text)))
    # Case folding may decompose letters, so the form is applied once more.
    return " ".join(unicodedata.normalize("NFC", text.casefold()).split())


def _plain(character: str) -> str:
    if unicodedata.decomposition(character).startswith(KEPT):
        return character
    return unicodedata.normalize("NFKC", character)
