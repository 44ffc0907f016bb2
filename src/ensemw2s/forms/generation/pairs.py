"""The pairs of a second lesson: what a student's samples, the answers it learned and judges make of the questions."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ensemw2s.config import Preference, canonical_hash
from ensemw2s.core.labels.judged import standardised
from ensemw2s.core.preferences import Pair, Question
from ensemw2s.core.preferences.denoising import Guard, denoise, guard, mean_margin
from ensemw2s.core.seeds import stream
from ensemw2s.evaluation import costs
from ensemw2s.forms.generation.judging.judges import SeedJudges
from ensemw2s.forms.generation.labelling.labels import right_texts
from ensemw2s.forms.generation.labelling.samples import draw_samples
from ensemw2s.forms.generation.prepare import AnswerPrepared
from ensemw2s.forms.generation.scores import AnswerVoters
from ensemw2s.forms.prepared import SeedContext
from ensemw2s.results import Cost
from ensemw2s.storage.store import Artifact, artifact_key

PAIR_VERSION = 1
PAIRS = "pairs"
"""Kind of artifact that holds pairs: of one seed and one row, as its record says."""

Placed = list[tuple[int, Pair]]
"""Pairs, each with the place of its question."""


@dataclass(frozen=True)
class Asked:
    """Questions to which a student draws answers."""

    rows: Int[Tensor, " questions"]
    weak: Sequence[str]
    """The teacher's answer to each, or a person's."""
    people: Collection[int] = ()
    """Places of those that a person answered."""


@dataclass(frozen=True)
class PairMaker:
    """Makes the pairs of one student."""

    prepared: AnswerPrepared
    seed: SeedContext
    then: Preference
    student: AnswerVoters
    judges: SeedJudges | None
    """None where the run has none."""

    def make(self, row: str, asked: Asked, easy: Asked | None) -> tuple[Mapping[str, Any], Cost]:
        """The record of the pairs, from the store or made now, and what samples and judges cost.

        Args:
            row: key of the student's condition.
            easy: questions whose truth is known, which say how far judges may change pairs; None where they may not.
        """
        then, names = self.then, self.prepared.names_of(asked.rows)
        samples, drawing = self._samples(asked)
        worth, judging = self._worth(asked, samples)
        spent = [drawing, judging]
        deciding: dict[str, Any] = {
            "seed": self.seed.seed,
            "row": row,
            "weak": canonical_hash(list(asked.weak)),
            "people": sorted(asked.people),
            "samples": canonical_hash([list(each) for each in samples]),
            "ids": names,
            "pairs": [then.pairs, vars(then.make_pairing())],
            "verifier": self.prepared.task.verifier,
        }
        deciding |= {"worth": canonical_hash(worth)} if any(worth) else {}
        guarded = None
        if easy is not None:
            guarded, guarding = self._guard(easy)
            spent.append(guarding)
            deciding["denoised"] = [guarded.share, self._judges.deciding]

        def compute() -> Artifact:
            found, without = self._pairs(asked, samples, worth)
            facts: dict[str, Any] = {"n_questions": len(names), "n_without": without}
            if guarded is not None:
                found = _denoised(found, self._margins(asked, found), guarded.share)
                facts["guard"] = guarded._asdict() | {"n_reversed": list(guarded.n_reversed)}
            pairs = [{"id": names[i]} | pair._asdict() for i, pair in found]
            return Artifact({}, {"seed": self.seed.seed, "row": row, "pairs": pairs, **facts})

        record = self.seed.memo(PAIRS, artifact_key(PAIR_VERSION, deciding), compute).record
        if guarded is not None:
            place = {name: i for i, name in enumerate(names)}
            pairs = [(place[each["id"]], pair_of(each)) for each in record["pairs"]]
            spent.append(self._judges.asking(*self._sides(asked, pairs)))
        if self.then.reads_judges:
            spent.append(self._judges.cost)
        return record, costs.total(spent)

    @property
    def _judges(self) -> SeedJudges:
        assert self.judges is not None, "the configuration was checked"
        return self.judges

    def _samples(self, asked: Asked) -> tuple[tuple[tuple[str, ...], ...], Cost]:
        then = self.then
        samples, cost = draw_samples(
            self.prepared, self.seed, self.student, asked.rows, then.n_samples, then.temperature
        )
        return samples.texts, cost

    def _pairs(
        self, asked: Asked, samples: Sequence[Sequence[str]], worth: Sequence[Mapping[str, float]]
    ) -> tuple[Placed, dict[str, int]]:
        """The pairs, and how many questions have none, by the reason."""
        pairing, found, without = self.then.make_pairing(), Placed(), dict[str, int]()
        for i, name in enumerate(self.prepared.names_of(asked.rows)):
            draws = stream(self.seed.seed, "pair", name)
            made = pairing(Question(asked.weak[i], samples[i], self.prepared.final, i in asked.people, draws, worth[i]))
            if isinstance(made, str):
                without[made] = without.get(made, 0) + 1
            else:
                found += [(i, pair) for pair in made]
        return found, without

    def _worth(self, asked: Asked, samples: Sequence[Sequence[str]]) -> tuple[list[dict[str, float]], Cost]:
        """What judges say of each question's distinct samples, where the pairing asks them."""
        if not getattr(self.then.make_pairing(), "reads_judges", False):
            return [{} for _ in samples], costs.NOTHING
        # The learned answer first: judges by principles compare the others with it.
        each_said = ((weak, *texts) for weak, texts in zip(asked.weak, samples, strict=True))
        answers = [list(dict.fromkeys(text for text in said if text)) for said in each_said]
        prompts = self._prompts(asked.rows)
        means = standardised(self._judges.of_columns(prompts, answers)).mean(0).tolist()
        worth = [dict(zip(each, of[: len(each)], strict=True)) for each, of in zip(answers, means, strict=True)]
        return worth, self._judges.asking(prompts, answers)

    def _margins(self, asked: Asked, pairs: Placed) -> Float[Tensor, " pairs"]:
        """The judges' mean margin of each pair."""
        if not pairs:
            return torch.zeros(0, dtype=torch.float64)
        scores = torch.stack(self._judges(*self._sides(asked, pairs)), dim=1)
        return mean_margin(scores[..., 0] - scores[..., 1])

    def _sides(self, asked: Asked, pairs: Placed) -> tuple[list[str], list[list[str]]]:
        """Each pair's question, and its two answers."""
        prompts = self._prompts(asked.rows[torch.tensor([i for i, _ in pairs], dtype=torch.long)])
        return prompts, [[pair.chosen, pair.rejected] for _, pair in pairs]

    def _guard(self, easy: Asked) -> tuple[Guard, Cost]:
        """How far judges may change pairs: as pairs say that are made in the same way of questions with known truth."""
        samples, drawing = self._samples(easy)
        worth, judging = self._worth(easy, samples)
        found, _ = self._pairs(easy, samples, worth)
        chosen, rejected = (self._right(easy, found, side) for side in ("chosen", "rejected"))
        known = [found[k] for k in (chosen != rejected).nonzero()[:, 0].tolist()]
        asking = self._judges.asking(*self._sides(easy, known))
        found_of = guard(self._margins(easy, known), rejected[chosen != rejected])
        return found_of, costs.total([drawing, judging, asking])

    def _right(self, easy: Asked, pairs: Placed, side: str) -> Bool[Tensor, " pairs"]:
        truths = [self.prepared.split.easy_answers[int(easy.rows[i])] for i, _ in pairs]
        return right_texts(self.prepared, [getattr(pair, side) for _, pair in pairs], truths)

    def _prompts(self, rows: Int[Tensor, " rows"]) -> list[str]:
        return [self.prepared.split.examples[row].prompt for row in rows.tolist()]


def _denoised(pairs: Placed, margins: Float[Tensor, " pairs"], share: float) -> Placed:
    """These pairs after denoising; without a share they are as they were."""
    if share == 0.0:
        return pairs
    changed = Placed()
    for (i, pair), flip, probability, margin in zip(
        pairs, *(each.tolist() for each in denoise(margins, share)), strict=True
    ):
        if flip:
            pair = pair._replace(chosen=pair.rejected, rejected=pair.chosen, origin=f"{pair.origin}, turned round")
        changed.append((i, pair._replace(probability=probability, margin=margin)))
    return changed


def pair_of(record: Mapping[str, Any]) -> Pair:
    """A pair as it is kept; an older store does not say its probability, which was 1."""
    return Pair(**{name: record[name] for name in Pair._fields if name in record})
