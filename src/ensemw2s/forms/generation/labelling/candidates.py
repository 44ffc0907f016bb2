"""Answers as classes of their own question, so that the label models and selections of classes decide among them.

Column k of a question is the k-th distinct answer that somebody gave; the first is the ensemble's own, the others
follow by the probability of the samples that gave them. Answers whose `final_answer` is the same are one column. A
column says nothing about another question's, so only pieces that compare none (`for_generation`) have a part.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ensemw2s.core.labels import Labelled, Votes
from ensemw2s.forms.generation.labelling.labels import PseudoAnswers

_LEAST = 1e-30
"""Of the ensemble's own answer: a long text has a probability near 0, and is its answer all the same."""

Final = Callable[[str], str]
"""What of an answer is compared; empty where it says nothing."""
Columns = Sequence[Sequence[str | None]]
"""Distinct answers to each question; None is none, or one that says nothing."""


@dataclass(frozen=True)
class Candidates:
    """What was answered to some questions.

    Args:
        texts: of each question, by column: of those that are one answer, the likeliest.
        votes: of the members and of the samples, over these columns.
    """

    texts: list[list[str]]
    votes: Votes
    final: Final

    @classmethod
    def of(cls, pseudo: PseudoAnswers, n_later: int, final: Final) -> "Candidates":
        """Of an ensemble's pseudo-answers, with room for `n_later` answers of students to each question."""
        own = [text.strip() for text in pseudo.texts]
        members = [[text.strip() for text in label["members"]] for label in pseudo.record["labels"]]
        n_samples = 0 if pseudo.samples is None else pseudo.samples.probability.shape[1]
        drawn = [()] * len(own) if pseudo.samples is None else pseudo.samples.texts
        likely = [[]] * len(own) if pseudo.samples is None else pseudo.samples.probability.tolist()
        texts = [
            _columns(text, float(sure), said, list(zip(samples, probability, strict=True)), final)
            for text, sure, said, samples, probability in zip(
                own, pseudo.confidence, members, drawn, likely, strict=True
            )
        ]
        width = max(map(len, texts)) + n_later
        soft = torch.zeros(len(texts), width)
        soft[:, 0] = pseudo.confidence.float().clamp_min(_LEAST)
        said_by = torch.zeros(len(members[0]) + n_samples, len(texts), width)
        for i, (there, said, samples) in enumerate(zip(texts, members, drawn, strict=True)):
            place = {final(text): k for k, text in enumerate(there)}
            for t, text in enumerate([*said, *samples]):
                said_by[t, i, place[final(text)]] = 1.0
        weights = torch.tensor([*pseudo.record["expert_weights"], *[1.0] * n_samples])
        return cls(texts, Votes(said_by, weights, soft), final)

    @property
    def columns(self) -> list[list[str | None]]:
        """The answers that say something, over all columns of the votes."""
        width = self.votes.soft.shape[1]
        said = [[text if self.final(text) else None for text in there] for there in self.texts]
        return [[*each, *[None] * (width - len(each))] for each in said]

    def places(self, given: Sequence[str]) -> Int[Tensor, " items"]:
        """The column of an answer to each question, which gets one where nobody gave it yet."""
        found = []
        for there, text in zip(self.texts, given, strict=True):
            known = [self.final(other) for other in there]
            if self.final(text) not in known:
                there.append(text)
                known.append(self.final(text))
            found.append(known.index(self.final(text)))
        return torch.tensor(found)

    def add(self, pseudo: PseudoAnswers) -> Float[Tensor, "items classes"]:
        """Another answer to each question, as its distribution over the columns, whose texts are now this answer's."""
        given = [text.strip() for text in pseudo.texts]
        soft, places = torch.zeros_like(self.votes.soft), self.places(given)
        soft[torch.arange(len(given)), places] = pseudo.confidence.float().clamp_min(_LEAST)
        for there, k, text in zip(self.texts, places.tolist(), given, strict=True):
            there[k] = text
        return soft

    def spoken(self, labelled: Labelled) -> Labelled:
        """Silence is no answer to a question as long as somebody gives one; its share of the votes is lost."""
        soft = labelled.soft.masked_fill(self._is_silent, 0.0)
        return labelled._replace(soft=torch.where(soft.sum(-1, keepdim=True) > 0, soft, labelled.soft))

    @property
    def _is_silent(self) -> Bool[Tensor, "items classes"]:
        silent = torch.zeros_like(self.votes.soft, dtype=torch.bool)
        for i, there in enumerate(self.texts):
            silent[i, : len(there)] = torch.tensor([not self.final(text) for text in there])
        return silent

    def chosen(self, labelled: Labelled) -> tuple[str, ...]:
        """The likeliest text of each question."""
        columns: Sequence[int] = labelled.soft.argmax(-1).tolist()
        return tuple(there[k] for there, k in zip(self.texts, columns, strict=True))


def _columns(
    own: str, confidence: float, members: Sequence[str], samples: Sequence[tuple[str, float]], final: Final
) -> list[str]:
    """The distinct answers to one question, each as its likeliest text; of a member's text no probability is known."""
    best: dict[str, tuple[float, str]] = {}
    drawn: dict[str, float] = {}
    for text, probability in [(own, confidence), *((text, -1.0) for text in members), *samples]:
        answer = final(text)
        if answer not in best or (text and probability > best[answer][0]):
            best[answer] = probability, text
    for text, probability in samples:
        drawn[final(text)] = drawn.get(final(text), 0.0) + probability
    first, *others = best  # the ensemble's own, then in the order in which they were given
    others.sort(key=lambda answer: -drawn.get(answer, 0.0))
    return [best[answer][1] for answer in (first, *others)]
