"""When two texts are one, and where that decides: groups of the split, pairs of answers."""

import unicodedata

import pytest

from ensemw2s.data.alike import alike
from ensemw2s.data.answers import is_right
from ensemw2s.data.own.sides import groups_of
from ensemw2s.examples import Example


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Is  Ice cold? ", "is ice COLD?"),
        (unicodedata.normalize("NFC", "Où est l'été?"), unicodedata.normalize("NFD", "où est l'Été?")),
        ("ＡＢＣ １", "abc 1"),
        ("zero\u200bwidth", "zerowidth"),
        ("\ufeffbegins with a mark", "begins with a mark"),
        ("soft\u00adhyphen", "softhyphen"),
        ("no\u00a0break", "no break"),
        ("ﬁsh", "fish"),
        ("STRASSE", "straße"),
        ("❤\ufe0f", "❤"),
    ],
)
def test_texts_that_a_reader_cannot_tell_apart_are_one(one, other):
    assert alike(one) == alike(other)
    assert is_right(one, other, verifier="text")
    examples = [Example("a", "a", one), Example("b", "b", other), Example("c", "c", "another text")]
    first, second, third = groups_of(examples)
    assert first == second != third


@pytest.mark.parametrize(("one", "other"), [("10²", "102"), ("H₂O", "H2O"), ("1½", "11⁄2"), ("a b", "ab"), ("é", "e")])
def test_texts_of_another_meaning_stay_apart(one, other):
    assert alike(one) != alike(other)
