"""Unlabelled items to look at: what members, outside voters and the student answer, and what is true."""

from collections.abc import Sequence
from dataclasses import dataclass

from ensemw2s.evaluation.scored import ScoredSeed
from ensemw2s.pictures import shown
from ensemw2s.results import Item, Items, Row
from ensemw2s.results.picks import best_student

MOST_ITEMS = 240
MOST_OF_A_KIND = 60
"""So that each of the kinds that a reader asks for has some."""
MOST_CHARACTERS = 400
KINDS = ("mended", "broken", "disagree")


@dataclass(frozen=True)
class Questions:
    """The unlabelled questions of a seed, in the order of its `hard_rows`."""

    texts: tuple[str, ...]
    truths: tuple[str, ...] | None
    """None where nobody knows them."""


def items_of(
    seed: ScoredSeed, questions: Questions | None, choices: Sequence[str], rows: Sequence[Row], chosen: Row
) -> Items | None:
    """Some items of a seed, most telling first; None without questions.

    Args:
        choices: of the task.
        chosen: the recommended row, whose answers are the student's where it learned weak labels; else the best
            student's are.
    """
    if questions is None:
        return None
    student = chosen if chosen.kind == "student" or chosen.condition.kind == "self_training" else best_student(rows)
    said = None if student is None else seed.conditions[student.condition].hard_answers
    answers: list[str] | None = None if said is None else [choices[int(k)] for k in said]
    names = seed.voters.names if seed.voters is not None else ()
    record, found = seed.signals, list[Item]()
    for i, text in enumerate(questions.texts):
        members = record.members[i]
        n_models = len(members) - len(names)
        truth = None if questions.truths is None else questions.truths[i]
        answer = None if answers is None else answers[i]
        is_right = None if seed.labels_right is None else bool(seed.labels_right[i])
        student_is_right = None if truth is None or answer is None else answer == truth
        found.append(
            Item(
                id=record.ids[i],
                text=shortened(text),
                label=record.answers[i],
                members=members[:n_models],
                votes={name: vote for name, vote in zip(names, members[n_models:], strict=True) if vote},
                on_easy=record.checker[i],
                student=answer,
                truth=truth,
                is_right=is_right,
                student_is_right=student_is_right,
                kinds=_kinds(members[:n_models], members[n_models:], is_right, student_is_right),
            )
        )
    of_kind = {kind: [item for item in found if kind in item.kinds] for kind in KINDS}
    order = [item for kind in KINDS for item in of_kind[kind][:MOST_OF_A_KIND]] + found
    return Items(
        method=record.method,
        student=None if answers is None or student is None else student.key,
        n_items=len(found),
        counts={kind: len(each) for kind, each in of_kind.items()},
        items=tuple({item.id: item for item in order}.values())[:MOST_ITEMS],
    )


def _kinds(
    members: Sequence[str], votes: Sequence[str], is_right: bool | None, student_is_right: bool | None
) -> tuple[str, ...]:
    """Which of KINDS an item is; an empty vote is an abstention."""
    answers = {*members, *(vote for vote in votes if vote)}
    is_kind = {
        "mended": is_right is False and student_is_right is True,
        "broken": is_right is True and student_is_right is False,
        "disagree": len(answers) > 1,
    }
    return tuple(kind for kind in KINDS if is_kind[kind])


def shortened(text: str) -> str:
    """A text as a reader sees it, with its end cut off where it is long and its pictures named by their files."""
    text = shown(text.strip())
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1].rstrip() + "…"
