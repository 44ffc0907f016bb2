"""Exact match of every row, item by item, from every row's scores."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ensemw2s.core import intervals, metrics
from ensemw2s.core.seeds import stream
from ensemw2s.data.answers import is_right
from ensemw2s.ensemble.scores import StagedScores
from ensemw2s.evaluation.table import Table, Truth, figure
from ensemw2s.evaluation.trace import rounds_of
from ensemw2s.forms.generation.prepare import AnswerPrepared, AnswerSide
from ensemw2s.pipeline.generation.cost import NOTHING, mean
from ensemw2s.pipeline.generation.labels import right_answers
from ensemw2s.pipeline.generation.stages import AnswerSeed
from ensemw2s.pipeline.generation.work import AnswerEnsemble, Right, Voters
from ensemw2s.pipeline.rows import ZERO_SHOT, Named
from ensemw2s.records import AnswerTokens
from ensemw2s.results import (
    EnsembleTrace,
    Figure,
    Reliability,
    ReliabilityBin,
    Row,
)


class AnswerTable(Table):
    """Exact match of every row, item by item, and the intervals over them; everything else is the plain table's."""

    def __init__(self, prepared: AnswerPrepared, seeds: Sequence[AnswerSeed], truth: Truth):
        self.prepared, self.seeds, self.truth = prepared, seeds, truth
        self.outcomes = [s.outcome for s in seeds]
        self.by_text = prepared.config.task.needs_decoding
        self.by_choice = prepared.config.generation.answer_by == "choices"
        self.resamples = {
            part: intervals.Resamples.draw(truth.groups[part], len(seeds), stream(0, "interval", part))
            for part in truth.tests
        }
        self._answers: dict[tuple[int, str], AnswerTokens] = {}
        self._exact: dict[tuple[int, str, str], Bool[Tensor, " items"]] = {}

    def given(self, side: AnswerSide, part: str) -> AnswerTokens:
        """The true answers of a test part as this side's tokens."""
        place = (id(side), part)
        if place not in self._answers:
            texts = [self.prepared.task.choices[k] for k in self.truth.labels[part].tolist()]
            names = [self.prepared.names[i] for i in self.truth.rows[part].tolist()]
            self._answers[place] = side.answers(self.truth.rows[part], texts, names)
        return self._answers[place]

    def scores(self, seed: AnswerSeed, voters: Voters, part: str) -> StagedScores:
        """Teacher-forced, with every size up to that of the voters."""
        keys, states = voters.keys, list(voters.states)
        if part == "easy_val":
            easy = seed.easy["weak" if voters.side is self.prepared.weak else "strong"]
            return seed.scores(voters.side, keys, states, voters.weights, easy, seed.draw.easy_val)
        answers = self.given(voters.side, part)
        return seed.scores(voters.side, keys, states, voters.weights, answers, torch.arange(len(answers.ids)))

    def exact(self, s: int, key: str, part: str) -> Bool[Tensor, " items"]:
        """Whether each answer is the true one."""
        place = (s, key, part)
        if place not in self._exact:
            seed = self.seeds[s]
            voters = seed.outcome.voters[key]
            # An untrained model does not know where to end: its answer is written out and compared as text.
            by_text = self.by_text or (key == ZERO_SHOT and not self.by_choice)
            self._exact[place] = right_answers(seed, voters, *self.questions(seed, part), by_text=by_text)
        return self._exact[place]

    def questions(self, seed: AnswerSeed, part: str) -> tuple[Int[Tensor, " rows"], list[str]]:
        """Rows of a part, and their true answers."""
        if part == "easy_val":
            rows, labels = seed.draw.easy_val, self.prepared.split.easy_labels[seed.draw.easy_val]
        else:
            rows, labels = self.truth.rows[part], self.truth.labels[part]
        return rows, [self.prepared.task.choices[k] for k in labels.tolist()]

    def right(self, seed: AnswerSeed, voters: Voters, part: str) -> Right:
        """Who answers what truly, at every size."""
        return seed.right(voters, *self.questions(seed, part))

    def correct(self, key: str, part: str) -> Float[Tensor, "seeds items"]:
        return torch.stack([self.exact(s, key, part) for s in range(len(self.seeds))]).double()

    def row(self, named: Named) -> Row:
        """Exact match, token error and log loss per answer token on easy-val, ID and OOD."""
        parts: dict[str, dict[str, Figure]] = {}
        for part in ("easy_val", *self.truth.tests):
            if part == "easy_val":
                per_seed = [float(self.exact(s, named.key, part).double().mean()) for s in range(len(self.seeds))]
                figures = {"accuracy": figure(per_seed, "accuracy")}
            else:
                exact = self.correct(named.key, part)
                figures = {"accuracy": Figure(per_seed=tuple(exact.mean(1).tolist()), interval=self.share(exact, part))}
            if named.key != ZERO_SHOT:
                found = [self.scores(s, s.outcome.voters[named.key], part) for s in self.seeds]
                figures["log_loss"] = figure([-float(f.gold[-1].double().mean()) for f in found], "log_loss")
                wrong = [float(f.wrong[-1].double().mean()) for f in found]
                figures["token_error"] = figure(wrong, "token_error")
            parts[part] = figures
        return Row(
            key=named.key,
            label=named.label,
            kind=named.kind,
            parts=parts,
            cost=mean(s.outcome.cost.get(named.key, NOTHING) for s in self.seeds),
            n_experts=tuple(o.n_experts[named.key] for o in self.outcomes if named.key in o.n_experts),
        )

    def trace(self, seed: AnswerSeed, ensemble: AnswerEnsemble) -> EnsembleTrace:
        """How the ensemble grew: every size and every member, from the members' one evaluation."""
        states = [e.state for e in ensemble.experts]
        whole = Voters(self.prepared.weak, ensemble.keys, tuple(states), ensemble.weights)
        found = {part: self.right(seed, whole, part) for part in ("easy_val", *self.truth.tests)}
        n = range(len(states))
        alone = [{p: float(f.member[t].double().mean()) for p, f in found.items()} for t in n]
        together = [{p: float(f.together[t].double().mean()) for p, f in found.items()} for t in n]
        wrong = ~found[self.truth.hardest].member
        return EnsembleTrace(
            method=ensemble.method,
            seed=ensemble.seed,
            prior_error=ensemble.prior_error,
            rounds=rounds_of(ensemble.experts, alone, together),
            selected=ensemble.selected,
            temperature=1.0,
            error_correlation=tuple(tuple(row) for row in metrics.error_correlation(wrong).tolist()),
            all_wrong=float(wrong.all(0).double().mean()),
        )

    def hard_truths(self, seed: AnswerSeed) -> list[str]:
        """True answers of the unlabelled questions; opens their seal, for the evaluation."""
        split = self.prepared.split
        places = seed.draw.hard_unlabelled - split.pools["hard_pool"].start
        labels = split.sealed["hard_pool"].open("evaluation")[places]
        return [self.prepared.task.choices[k] for k in labels.tolist()]

    def pseudo_right(self, seed: AnswerSeed, teacher: str) -> Bool[Tensor, " hard"]:
        """Which pseudo-answers are true."""
        verifier = self.prepared.task.verifier
        texts = seed.outcome.pseudo[teacher].texts
        truths = self.hard_truths(seed)
        return torch.tensor([is_right(a, t, verifier=verifier) for a, t in zip(texts, truths, strict=True)])

    def reliability_of_labels(self, teacher: str) -> Reliability:
        """Confidence of the pseudo-answers against their truth, seeds pooled."""
        confidence = torch.cat([s.outcome.pseudo[teacher].confidence for s in self.seeds])
        right = torch.cat([self.pseudo_right(s, teacher) for s in self.seeds])
        bins = metrics.confidence_bins(confidence.double(), right, n_bins=10)
        return Reliability(
            row=teacher,
            bins=tuple(ReliabilityBin(confidence=b.confidence, accuracy=b.accuracy, n_items=b.n_items) for b in bins),
        )
