"""Free answers: their prompts, when two of them are equal, and the task that holds them."""

import re
from collections.abc import Sequence
from typing import Literal

from ensemw2s.data.alike import alike
from ensemw2s.examples import Example, Task

# A sign counts only where no number or word stands before it: 5-3 ends with 3, and = -3 with -3.
_NUMBER = re.compile(
    r"(?P<sign>(?<![\w.)])-\s?)?(?:\$\s?(?P<inner>-)?)?"
    r"(?P<whole>[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)?(?(whole)(?:\.(?P<part>[0-9]+))?|\.(?P<bare>[0-9]+))"
)


def ask(question: str, options: Sequence[str] | None = None) -> str:
    """The prompt of a free question; the answer follows it after a space.

    >>> ask("What is 1 + 1?")
    'Question: What is 1 + 1?\\nAnswer:'
    """
    listed = "" if options is None else "\nOptions:" + "".join(f"\n- {option}" for option in options)
    return f"Question: {question}{listed}\nAnswer:"


def free_task(
    name: str,
    examples: Sequence[Example],
    source: str,
    difficulty_meaning: str,
    *,
    verifier: Literal["text", "number"] = "text",
) -> Task:
    """A task answered by texts; its classes are the sorted distinct answers."""
    table = tuple(sorted({e.answer for e in examples if e.answer is not None}))
    return Task(name, tuple(examples), table, source, difficulty_meaning, answer_form="free", verifier=verifier)


def normalise(text: str) -> str:
    """A text without irrelevant differences: Unicode form, case, outer and repeated spaces, full stops at the end.

    >>> normalise("  The  Moon. ")
    'the moon'
    """
    return alike(text).rstrip(" .")


def final_number(text: str) -> str | None:
    """The last number of a text in its shortest form, None where there is none.

    Commas between thousands, a dollar sign, a minus sign (also the typographic one) and a full stop after the number
    are understood; powers of ten, percentages and fractions are not.

    >>> final_number("so it costs $1,234.50."), final_number("#### 7"), final_number("7.0"), final_number("none")
    ('1234.5', '7', '7', None)
    """
    found = list(_NUMBER.finditer(text.replace("−", "-")))
    if not found:
        return None
    last = found[-1]
    # As text and not as float, so that two long numbers that differ in one digit stay different.
    whole = (last["whole"] or "").replace(",", "").lstrip("0") or "0"
    part = (last["part"] or last["bare"] or "").rstrip("0")
    number = f"{whole}.{part}" if part else whole
    return f"-{number}" if (last["sign"] or last["inner"]) and number != "0" else number


def final_answer(text: str, *, verifier: Literal["text", "number"]) -> str:
    """What of an answer is compared: the text after `normalise`, or its final number; empty where it has none.

    >>> final_answer("5 + 2 = 7.0", verifier="number"), final_answer(" Peru. ", verifier="text")
    ('7', 'peru')
    """
    return final_number(text) or "" if verifier == "number" else normalise(text)


def is_right(given: str, truth: str, *, verifier: Literal["text", "number"]) -> bool:
    """Whether an answer is the true one: exactly, after `normalise` or as `final_number`."""
    final = final_answer(given, verifier=verifier)
    return (bool(final) or verifier == "text") and final == final_answer(truth, verifier=verifier)
