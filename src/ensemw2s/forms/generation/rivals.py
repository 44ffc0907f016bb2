"""The trivial rival where answers are generated: the answer to the most similar easy question."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ensemw2s.ensemble.learners.base import take
from ensemw2s.ensemble.learners.tfidf import tfidf_vectorizer
from ensemw2s.forms.generation.prepare import AnswerPrepared
from ensemw2s.forms.prepared import SeedContext, rows_of
from ensemw2s.results import Condition, Cost
from ensemw2s.results.conditions import NEAREST

ROWS = 1024
"""Questions whose similarities to all easy ones are held at a time."""


@dataclass(frozen=True)
class GivenAnswers:
    """Answers without a model, by part."""

    texts: Mapping[str, tuple[str, ...]]
    again: Callable[[AnswerPrepared, SeedContext], Mapping[str, tuple[str, ...]]]
    """The same for a run whose tests are worded otherwise."""


def answer_rivals(prepared: AnswerPrepared, seed: SeedContext) -> dict[Condition, tuple[GivenAnswers, Cost]]:
    """What the trivial rival of one seed answers in every part; none where each question has its own options."""
    if prepared.by_choice:
        return {}
    prompts = [example.prompt for example in prepared.split.examples]
    known = seed.draw.easy_train
    answers = [prepared.split.easy_answers[row] for row in known.tolist()]
    vectorizer = tfidf_vectorizer()
    easy: Any = vectorizer.fit_transform(take(prompts, known))
    compared = 0

    def nearest(questions: Sequence[str]) -> tuple[str, ...]:
        nonlocal compared
        found: list[int] = []
        for start in range(0, len(questions), ROWS):
            asked: Any = vectorizer.transform(questions[start : start + ROWS])  # of length 1, as `easy`: cosines
            found += (asked @ easy.T).toarray().argmax(1).tolist()
            compared += asked.nnz * len(known)
        return tuple(answers[i] for i in found)

    def by_part(prepared: AnswerPrepared, seed: SeedContext) -> dict[str, tuple[str, ...]]:
        prompts = [example.prompt for example in prepared.split.examples]
        return {part: nearest(take(prompts, rows)) for part, rows in rows_of(prepared, seed).items()}

    texts = by_part(prepared, seed)
    return {
        NEAREST: (GivenAnswers(texts, by_part), Cost(training_tokens=0, expert_evaluations=0, flops=2.0 * compared))
    }
