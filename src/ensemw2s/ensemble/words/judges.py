"""Judges: which of several answers to a question is better.

likelihood   mean log-likelihood per token of the answer under a model that learned true answers
trained      R_m(x, a) = w_m . phi(x, a), phi the feature of question and answer. With the Bradley-Terry loss
             -log sigmoid(R(x, a+) - R(x, a-)) that is a two-class head without a bias on differences of features, so
             judges are an ordinary ensemble, of any method (2401.06080, 2502.12130).
principles   an answer beside the first one, shown in both orders with a sentence that says which is better
             (2310.05910). With u and v the lead of its letter in the two orders: (u + v) / 2 where both have one sign,
             else 0; over the standard deviation of all that a principle says in one call.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from ensemw2s.config import TrainConfig
from ensemw2s.ensemble.fit import Weak
from ensemw2s.ensemble.learners.trunk import TrunkLearner
from ensemw2s.models.adapting.head import Head
from ensemw2s.models.inputs import DifferenceInputs
from ensemw2s.records import Inputs
from ensemw2s.train.samples import Validation


@runtime_checkable
class Judge(Protocol):
    """Whoever judges answers."""

    def __call__(
        self, prompts: Sequence[str], answers: Sequence[Sequence[str]]
    ) -> list[Float[Tensor, "judges answers"]]:
        """Scores of every answer to each prompt: higher is better; comparable within one question alone."""
        ...


@dataclass(frozen=True)
class ByAnswer:
    """Judges that read one answer at a time: `trained` and `likelihood`."""

    score: Callable[[Sequence[str], Sequence[str]], Float[Tensor, "judges texts"]]
    """Of each prompt with its answer."""

    def __call__(
        self, prompts: Sequence[str], answers: Sequence[Sequence[str]]
    ) -> list[Float[Tensor, "judges answers"]]:
        asked = [prompt for prompt, each in zip(prompts, answers, strict=True) for _ in each]
        scores = self.score(asked, [answer for each in answers for answer in each])
        return list(scores.split([len(each) for each in answers], dim=1))


class Shown(NamedTuple):
    """Two answers as a principle's judge is shown them."""

    prompt: str
    first: str
    second: str
    principle: str

    @property
    def text(self) -> str:
        """What is read; "a" or "b" follows."""
        return (
            f"{self.prompt}\n\nTwo answers to this:\n(a) {self.first}\n(b) {self.second}\n\n{self.principle}\n"
            "The better answer is ("
        )


@dataclass(frozen=True)
class ByPrinciples:
    """One judge for each principle."""

    principles: tuple[str, ...]
    lead: Callable[[Sequence[Shown]], Float[Tensor, " shown"]]
    """Log-probability of "a" less that of "b"."""

    def __call__(
        self, prompts: Sequence[str], answers: Sequence[Sequence[str]]
    ) -> list[Float[Tensor, "judges answers"]]:
        pairs = [(p, other, each[0]) for p, each in zip(prompts, answers, strict=True) for other in each[1:]]
        scores = self.compared(pairs).split([max(len(each) - 1, 0) for each in answers], dim=1)
        return [
            torch.cat([torch.zeros(len(part), min(len(each), 1)), part], dim=1)
            for part, each in zip(scores, answers, strict=True)
        ]

    def compared(self, pairs: Sequence[tuple[str, str, str]]) -> Float[Tensor, "judges pairs"]:
        """How much better the first answer of each (prompt, answer, answer) is than the second."""
        n = len(pairs)
        if not n:
            return torch.zeros(len(self.principles), 0)
        shown = [
            Shown(prompt, one, other, principle)
            for principle in self.principles
            for prompt, first, second in pairs
            for one, other in ((first, second), (second, first))
        ]
        first, second = self.lead(shown).double().unflatten(0, (len(self.principles), n, 2)).unbind(-1)
        u, v = first, -second
        s = torch.where(u * v > 0, (u + v) / 2, 0.0)
        spread = s.std(1, correction=0, keepdim=True)
        return (s / torch.where(spread > 0, spread, 1.0)).float()


class AnswerPairs(NamedTuple):
    """Pairs of a better and a worse answer, as places among texts whose features are known."""

    better: Int[Tensor, " pairs"]
    worse: Int[Tensor, " pairs"]
    group_ids: Sequence[str]
    """Of each pair's question, so that held-out folds do not tear a group."""


def judges_in_training(
    features: Inputs, dim: int, learned: AnswerPairs, validation: AnswerPairs | None, training: TrainConfig
) -> Weak:
    """What the members of an ensemble of judges share: a pair is class 1, and class 0 the other way round.

    The scale of a feature is that of the features: differences of similar answers are small where it is large.
    """
    held = validation or AnswerPairs(learned.better[:0], learned.worse[:0], ())
    n, n_held = len(learned.better), len(held.better)
    plus = torch.cat([learned.better, learned.worse, held.better, held.worse])
    minus = torch.cat([learned.worse, learned.better, held.worse, held.better])
    labels = torch.cat([_mirrored(n), _mirrored(n_held)])
    rows = torch.arange(len(labels))

    def build(generator: Generator) -> Head:
        return Head(dim, 2, hidden=0, dropout=0.0, init_std=0.0, generator=generator)

    learner = TrunkLearner(
        DifferenceInputs(features, plus, minus),
        build,
        training,
        validation=None if validation is None else Validation(rows[2 * n :], labels[2 * n :]),
        scaled_by=features,
    )
    return Weak(learner, rows, rows[: 2 * n], labels[: 2 * n], [*learned.group_ids] * 2, n_classes=2)


def direction(state: Mapping[str, Tensor]) -> Float[Tensor, " dim"]:
    """What a trained judge multiplies a feature by; dimensions that it does not read have scale infinity, and are 0."""
    other, better = state["score.weight"].float()
    return (better - other) / state["scale"].float()


def _mirrored(n: int) -> Int[Tensor, " labels"]:
    return torch.cat([torch.ones(n, dtype=torch.long), torch.zeros(n, dtype=torch.long)])
