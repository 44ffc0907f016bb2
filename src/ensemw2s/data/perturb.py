"""Questions worded otherwise, with the answers that they had: after the perturbed tests of RUIE-Bench (2503.03201).

Every change is drawn from a stream of the example's own, so none depends on the order of the examples. None looks at an
answer. What a large model would have to write, and what changes the answer, such as other names, is left out.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from ensemw2s.config import EvaluationConfig, TaskSettings
from ensemw2s.core.seeds import stream_seed
from ensemw2s.data.alike import alike
from ensemw2s.data.splits import Split
from ensemw2s.examples import Example, Wording
from ensemw2s.tables import PERTURBATIONS

Perturbation = Callable[[str, Random, float, Sequence[str]], str]
"""From a text, what is drawn from, the strength and the same texts of all examples to the text as it is changed."""

_WORD = re.compile(r"[^\W\d_]{4,}")
_PLAIN = re.compile(r"(?<!\w)[^\W\d_]+(?!\w)")
_SENTENCE = re.compile(r".*?[.!?。！？](?=\s|$)", re.S)
_FINAL = re.compile(r"[.,;:!?…。！？]+(?=\s*$)")
_ACCENTS = re.compile(r"(?<=[A-Za-z])[\u0300-\u036f]+")
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEIGHBOURS = {
    letter: [
        _ROWS[row][place]
        for row, place in ((r, c - 1), (r, c + 1), (r - 1, c), (r - 1, c + 1), (r + 1, c - 1), (r + 1, c))
        if 0 <= row < len(_ROWS) and 0 <= place < len(_ROWS[row])
    ]
    for r, letters in enumerate(_ROWS)
    for c, letter in enumerate(letters)
}
"""Of each letter those beside it, above and below."""


def typos(text: str, rng: Random, strength: float, texts: Sequence[str]) -> str:
    """Some words of four letters or more have a letter swapped with the next, dropped, doubled, or one beside it."""
    return _with_some(text, list(_WORD.finditer(text)), rng, strength, _typo)


def lowercase(text: str, rng: Random, strength: float, texts: Sequence[str]) -> str:
    """No capitals."""
    return text.casefold()


def accents(text: str, rng: Random, strength: float, texts: Sequence[str]) -> str:
    """Latin letters have no accents. Raised digits stay, and marks of other scripts, which make another letter."""
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", text)))


def spaces(text: str, rng: Random, strength: float, texts: Sequence[str]) -> str:
    """One space is doubled."""
    places = [place for place, character in enumerate(text) if character == " "]
    place = rng.choice(places) if places else 0
    return text[:place] + " " + text[place:] if places else text


def punctuation(text: str, rng: Random, strength: float, texts: Sequence[str]) -> str:
    """The mark at the end is missing."""
    return _FINAL.sub("", text)


def distractor(text: str, rng: Random, strength: float, texts: Sequence[str]) -> str:
    """The first sentence of another question stands before it."""
    place = rng.randrange(len(texts))
    other = (texts[place] if texts[place] != text else texts[place - 1]).strip()
    if not other or other == text.strip():
        return text
    first = _SENTENCE.match(other)
    return f"{first[0] if first else other.partition(chr(10))[0]} {text}"


def masked(text: str, rng: Random, strength: float, texts: Sequence[str]) -> str:
    """Some words without a capital become "...": names and numbers, by which a question is known, stay."""
    words = [word for word in _PLAIN.finditer(text) if word[0] == word[0].lower()]
    return _with_some(text, words, rng, strength, lambda word, rng: "...")


def _with_some(
    text: str, words: Sequence[re.Match[str]], rng: Random, strength: float, change: Callable[[str, Random], str]
) -> str:
    """Each word changed with this probability, and one where the draw has none."""
    if not words or strength == 0:
        return text
    drawn = [word for word in words if rng.random() < strength] or [rng.choice(words)]
    for word in reversed(drawn):  # from the end, so that places stay
        text = text[: word.start()] + change(word[0], rng) + text[word.end() :]
    return text


def _typo(word: str, rng: Random) -> str:
    kind, place = rng.choice(("swap", "drop", "double", "neighbour")), rng.randrange(len(word))
    letter, rest = word[place], word[place + 1 :]
    if kind == "swap" and rest and rest[0] != letter:
        return word[:place] + rest[0] + letter + rest[1:]
    if kind == "drop":
        return word[:place] + rest
    if kind == "neighbour" and letter.lower() in _NEIGHBOURS:
        beside = rng.choice(_NEIGHBOURS[letter.lower()])
        return word[:place] + (beside.upper() if letter.isupper() else beside) + rest
    return word[: place + 1] + letter + rest


@dataclass(frozen=True)
class Reworded:
    """Some examples as they are asked once more."""

    prompts: tuple[str, ...]
    """In the order of the examples."""
    n_changed: int
    n_others: int
    """Left as they were, because they would have become another example's prompt, whose answer may be another, or
    nothing."""


def reworded(
    name: str, strength: float, examples: Sequence[Example], wordings: Sequence[Wording], taken: frozenset[str]
) -> Reworded:
    """A perturbation of these examples.

    Args:
        name: in the table of perturbations.
        wordings: of each example.
        taken: prompts of all examples that there are, by `alike`.
    """
    perturbation: Perturbation = PERTURBATIONS[name]
    order = sorted(range(len(examples)), key=lambda i: examples[i].id)
    prompts = [example.prompt for example in examples]
    decks = _decks([wordings[i].texts for i in order])
    n_others = 0
    for i in order:
        example, wording = examples[i], wordings[i]
        rng = Random(stream_seed(0, "perturb", name, example.id))
        texts = [perturbation(t, rng, strength, deck) for t, deck in zip(wording.texts, decks, strict=False)]
        if texts == list(wording.texts):
            continue
        is_nothing = any(old.strip() and not new.strip() for new, old in zip(texts, wording.texts, strict=True))
        prompt = example.prompt if is_nothing else wording.render(texts)
        if is_nothing or (alike(prompt) in taken and alike(prompt) != alike(example.prompt)):
            n_others += 1
        else:
            prompts[i] = prompt
    n_changed = sum(new != old.prompt for new, old in zip(prompts, examples, strict=True))
    return Reworded(tuple(prompts), n_changed, n_others)


def _decks(texts: Sequence[tuple[str, ...]]) -> list[list[str]]:
    """The first texts of all examples, their second ones, and so on."""
    return [[each[place] for each in texts if place < len(each)] for place in range(max(map(len, texts), default=0))]


@dataclass(frozen=True)
class PerturbedTests:
    """The tests of a split under one perturbation."""

    name: str
    parts: dict[str, Reworded]

    def laid_over(self, split: Split) -> Split:
        """The split with these prompts in the place of the tests' own; all else is the same."""
        examples = list(split.examples)
        for part, made in self.parts.items():
            for row, prompt in zip(split.pools[part], made.prompts, strict=True):
                examples[row] = replace(examples[row], prompt=prompt)
        return replace(split, examples=tuple(examples))


def perturbed_tests(task: TaskSettings, split: Split, config: EvaluationConfig) -> tuple[PerturbedTests, ...]:
    """Every perturbation of the tests. Raises DataError as `TaskSettings.wordings`, or where the template refuses."""
    if not config.perturb:
        return ()
    taken = frozenset(alike(example.prompt) for example in split.examples)
    tests = {part: [split.examples[row] for row in split.pools[part]] for part in split.tests}
    wordings = {part: task.wordings(examples, config.perturb_columns) for part, examples in tests.items()}
    return tuple(
        PerturbedTests(
            name,
            {part: reworded(name, config.strength, tests[part], wordings[part], taken) for part in split.tests},
        )
        for name in config.perturb
    )
