"""Pairs of a better and a worse answer to one question, made of a student's samples and of the answer it learned.

majority   c is the share of the samples that give the commonest answer (2407.13647, its second stage). Where the
           weak answer is that one and c >= least, it is better than a drawn sample of another answer; where it is
           not and c >= surely, a drawn sample of the commonest answer is better than it.
tree       samples in a tree of their steps; a node is worth the share of its samples that give the commonest
           answer. Where the best and the worst branch of a node differ by `gap`, the best sample through the one is
           better than the worst through the other (after 2507.18858, whose worth comes from an environment).
judged     the sample that judges find best is better than the worst of those that answer otherwise (2310.05910).
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import torch

from ensemw2s.core.selection.base import check_share


class Pair(NamedTuple):
    """Two answers to one question."""

    chosen: str
    rejected: str
    margin: float
    """How much more of the samples speak for the better one, as a share; how much better judges find it, in standard
    deviations, where they made or denoised the pair."""
    origin: str
    """Why it is a pair."""
    shared: str = ""
    """With which steps both begin, of which then nothing is learned."""
    probability: float = 1.0
    """That the better one is the better one; below 1 where judges doubt it."""


class Question(NamedTuple):
    """What is known of one question."""

    weak: str
    """The answer that the student learned; empty where there was none."""
    samples: Sequence[str]
    """The student's own drawn answers; empty where one has no end or says nothing."""
    final: Callable[[str], str]
    """What of an answer is compared; empty where it says nothing."""
    is_certain: bool
    """Whether the answer that it learned is a person's."""
    generator: torch.Generator
    """Of the draws, by the question's own name."""
    worth: Mapping[str, float]
    """Mean score of the judges for each distinct answer, in standard deviations; empty where nobody is asked."""

    @property
    def commonest(self) -> tuple[str, float]:
        """The answer that most samples give, and their share of all; of equals the weak one, else the first drawn."""
        counts = Counter(answer for answer in map(self.final, self.samples) if answer)
        if not counts:
            return "", 0.0
        most = max(counts.values())
        first = [answer for answer, n in counts.items() if n == most]
        weak = self.final(self.weak)
        return weak if weak in first else first[0], most / len(self.samples)

    def share(self, text: str) -> float:
        """Of all samples, those that give this answer."""
        return sum(self.final(sample) == self.final(text) for sample in self.samples) / len(self.samples)

    def drawn(self, is_wanted: Callable[[str], bool], n: int) -> list[str]:
        """At most `n` distinct samples whose final answer is wanted, drawn without return."""
        order = torch.randperm(len(self.samples), generator=self.generator).tolist()
        texts = list(self.samples)
        wanted = [texts[k] for k in order if texts[k] and is_wanted(self.final(texts[k]))]
        return list(dict.fromkeys(wanted))[:n]


SILENT, UNSURE, AGREED = "no sample has an answer", "the samples disagree too much", "all samples agree"
ALIKE = "the judges find the samples too alike"


@runtime_checkable
class Pairing(Protocol):
    """A frozen dataclass per pairing; its fields are its configuration."""

    reads_judges: ClassVar[bool]
    """Whether it needs `Question.worth`."""

    def __call__(self, question: Question) -> list[Pair] | str:
        """The pairs of a question, or why it has none."""
        ...

    def at_most(self, n_samples: int) -> int:
        """How many pairs a question has at most."""
        ...


@dataclass(frozen=True)
class ByMajority:
    """The commonest answer against the weak one, or against other samples."""

    reads_judges: ClassVar[bool] = False
    least: float = 0.6
    """Share of the samples that confirms a weak answer."""
    surely: float = 0.8
    """Share of the samples that overrules it."""
    per_question: int = 1

    def __post_init__(self) -> None:
        check_share("majority", "least", self.least)
        check_share("majority", "surely", self.surely)
        if self.per_question < 1:
            raise ValueError(f"majority: per_question is {self.per_question}; give 1 or more")

    def at_most(self, n_samples: int) -> int:
        return self.per_question

    def __call__(self, question: Question) -> list[Pair] | str:
        weak, (commonest, share) = question.final(question.weak), question.commonest
        if question.is_certain:
            others = question.drawn(lambda answer: answer not in ("", weak), self.per_question)
            return [_pair(question, question.weak, other, "person") for other in others] or AGREED
        if not commonest:
            return SILENT
        # The tolerance lets 0.6 be six of ten, whatever the rounding.
        if share < (self.least if weak == commonest else self.surely) - 1e-9:
            return UNSURE
        if weak == commonest:
            others = question.drawn(lambda answer: answer not in ("", weak), self.per_question)
            return [_pair(question, question.weak, other, "confirmed") for other in others] or AGREED
        if not question.weak:
            return "nothing was learned that could be worse"
        better = question.drawn(lambda answer: answer == commonest, self.per_question)
        return [_pair(question, text, question.weak, "overruled") for text in better]


@dataclass(frozen=True)
class ByTree:
    """At each node of the tree of steps, the best branch against the worst."""

    reads_judges: ClassVar[bool] = False
    gap: float = 0.5
    """Least difference of two branches' worth."""
    least: float = 0.6
    """Share of the samples that the commonest answer has, by which all are judged."""

    def __post_init__(self) -> None:
        check_share("tree", "gap", self.gap)
        check_share("tree", "least", self.least)

    def at_most(self, n_samples: int) -> int:
        return n_samples - 1  # so many nodes with several branches has a tree of so many leaves

    def __call__(self, question: Question) -> list[Pair] | str:
        answer, share = question.commonest
        if question.is_certain:
            answer, share = question.final(question.weak), 1.0
        said = [text for text in question.samples if text]
        if not said:
            return SILENT
        if share < self.least - 1e-9:
            return UNSURE
        is_lines = any("\n" in text for text in said)
        paths = [(_steps(text, is_lines=is_lines), text, question.final(text) == answer) for text in said]
        return self._pairs(paths, 0) or AGREED

    def _pairs(self, paths: Sequence[tuple[list[str], str, bool]], depth: int) -> list[Pair]:
        """Of the node that these samples go through after so many steps, and of those below it."""
        branches: dict[str | None, list[tuple[list[str], str, bool]]] = {}
        for path in paths:  # that a sample ends here is a branch, too
            branches.setdefault(path[0][depth] if depth < len(path[0]) else None, []).append(path)
        found: list[Pair] = []
        worth = {step: sum(good for *_, good in each) / len(each) for step, each in branches.items()}
        best, worst = max(worth, key=worth.__getitem__), min(worth, key=worth.__getitem__)
        if worth[best] - worth[worst] >= self.gap - 1e-9:
            chosen = max(branches[best], key=lambda path: path[2])[1]
            rejected = min(branches[worst], key=lambda path: path[2])[1]
            shared = "".join(paths[0][0][:depth])
            found.append(Pair(chosen, rejected, worth[best] - worth[worst], "branch", shared))
        for step, each in branches.items():
            if step is not None and len(each) > 1:
                found += self._pairs(each, depth + 1)
        return found


@dataclass(frozen=True)
class ByJudges:
    """What judges find best against what they find worst."""

    reads_judges: ClassVar[bool] = True
    gap: float = 1.0
    """Standard deviations of a judge's scores by which the two differ at least, above 0."""

    def __post_init__(self) -> None:
        if not self.gap > 0:
            raise ValueError(f"judged: gap is {self.gap}; give a number above 0")

    def at_most(self, n_samples: int) -> int:
        return 1

    def __call__(self, question: Question) -> list[Pair] | str:
        said = [text for text in dict.fromkeys(question.samples) if text and question.final(text)]
        if not said:
            return SILENT
        best = question.weak if question.is_certain else max(said, key=question.worth.__getitem__)
        others = [text for text in said if question.final(text) != question.final(best)]
        if not others:
            return AGREED
        worst = min(others, key=question.worth.__getitem__)
        if question.is_certain:
            return [_pair(question, best, worst, "person")]
        margin = question.worth[best] - question.worth[worst]
        return [Pair(best, worst, margin, "judged")] if margin >= self.gap - 1e-9 else ALIKE


def _steps(text: str, *, is_lines: bool) -> list[str]:
    """An answer's lines, or its words, each with the blanks before it."""
    return re.findall(r"\n*[^\n]+" if is_lines else r"\s*\S+", text)


def _pair(question: Question, chosen: str, rejected: str, origin: str) -> Pair:
    return Pair(chosen, rejected, question.share(chosen) - question.share(rejected), origin)
