"""When two texts are one to a reader, however they are encoded: questions, classes and answers are compared so."""

import unicodedata

KEPT = ("<super>", "<sub>", "<fraction>")
"""Compatibility characters that mean something else than their plain form: 10² is not 102, 1½ not 11/2."""


def alike(text: str) -> str:
    """What all spellings of a text share: one Unicode form, no case, single spaces, no invisible characters.

    >>> alike("  Sí\\u200b ") == alike("SÍ"), alike("10²") == alike("102")
    (True, False)
    """
    if not text.isascii():
        text = "".join(map(_plain, unicodedata.normalize("NFC", text)))
        # Folding case may take a text out of its form, and opens letters that the form then joins.
        text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    return " ".join(text.casefold().split())


def _plain(character: str) -> str:
    if character.isascii() or character.isspace():
        return character
    if unicodedata.category(character) in ("Cf", "Cc") or "\ufe00" <= character <= "\ufe0f":
        return ""
    if unicodedata.decomposition(character).startswith(KEPT):
        return character
    return unicodedata.normalize("NFKC", character)
