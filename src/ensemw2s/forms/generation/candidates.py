"""Texts as classes of their own question, so that the label models and selections of classes decide among them.

Column k of a question is the k-th distinct text that somebody gave; the first is the ensemble's own. A text's column
says nothing about another question's, so only pieces that compare none (`for_generation`) have a part.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ensemw2s.core.labels import Labelled, Votes
from ensemw2s.forms.generation.labels import PseudoAnswers

_LEAST = 1e-30
"""Of the ensemble's own answer: a long text has a probability near 0, and is its answer all the same."""


@dataclass(frozen=True)
class Candidates:
    """What was answered to some questions.

    Args:
        texts: of each question, by column.
        votes: of the members, over these columns.
    """

    texts: list[list[str]]
    votes: Votes

    @classmethod
    def of(cls, pseudo: PseudoAnswers, n_later: int) -> "Candidates":
        """Of an ensemble's pseudo-answers, with room for `n_later` answers of students to each question."""
        members: list[list[str]] = [[m.strip() for m in label["members"]] for label in pseudo.record["labels"]]
        texts = [list(dict.fromkeys([own.strip(), *said])) for own, said in zip(pseudo.texts, members, strict=True)]
        width = max(map(len, texts)) + n_later
        soft = torch.zeros(len(texts), width)
        soft[:, 0] = pseudo.confidence.float().clamp_min(_LEAST)
        said_by = torch.zeros(len(members[0]), len(texts), width)
        for i, (there, said) in enumerate(zip(texts, members, strict=True)):
            for t, text in enumerate(said):
                said_by[t, i, there.index(text)] = 1.0
        return cls(texts, Votes(said_by, torch.tensor(pseudo.record["expert_weights"]), soft))

    def add(self, pseudo: PseudoAnswers) -> Float[Tensor, "items classes"]:
        """Another answer to each question, as its distribution over the columns."""
        soft = torch.zeros_like(self.votes.soft)
        for i, (there, text) in enumerate(zip(self.texts, (t.strip() for t in pseudo.texts), strict=True)):
            if text not in there:
                there.append(text)
            soft[i, there.index(text)] = pseudo.confidence[i].float().clamp_min(_LEAST)
        return soft

    def chosen(self, labelled: Labelled) -> tuple[str, ...]:
        """The likeliest text of each question."""
        columns: Sequence[int] = labelled.soft.argmax(-1).tolist()
        return tuple(there[k] for there, k in zip(self.texts, columns, strict=True))
