"""Predicted classes held against the true ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ensemw2s.core import metrics
from ensemw2s.core.labels.outside import right_votes
from ensemw2s.core.routing import Trusted, signals_of
from ensemw2s.data.balance import is_uneven
from ensemw2s.ensemble.label import Ensemble
from ensemw2s.evaluation.costs import NOTHING
from ensemw2s.evaluation.routing_signals import RoutingRecord
from ensemw2s.evaluation.scored import HARD, VAL, Growth, PseudoLabels, Restarted, Scored, ScoredVoters
from ensemw2s.forms.classification.prepare import ClassPrepared
from ensemw2s.forms.classification.strong.outside import SeedVoters, joined_labels
from ensemw2s.forms.classification.strong.students import ClassStudents
from ensemw2s.forms.classification.weak.experts import ClassVoters
from ensemw2s.forms.prepared import SeedContext, Truth, rows_of
from ensemw2s.records import WeakLabels
from ensemw2s.results import AnswerSample, Cost, TokenWeights


@dataclass(frozen=True)
class ClassScoring:
    """Implements `forms.scoring.ScoringForm`."""

    prepared: ClassPrepared

    def score(self, seed: SeedContext, voters: ClassVoters, part: str, truth: Truth | None) -> Scored:
        log_probs, labels = voters.log_probs[part], self._labels(seed, part, truth)
        figures = {"log_loss": metrics.log_loss(log_probs, labels)}
        if part != VAL:
            figures |= {"brier": metrics.brier(log_probs, labels), "ece": metrics.ece(log_probs, labels)}
            figures["macro_f1"] = metrics.macro_f1(log_probs, labels)
            if is_uneven(labels):
                figures["balanced_accuracy"] = metrics.balanced_accuracy(log_probs, labels)
            if self.prepared.config.task.is_ordered:
                figures["class_distance"] = metrics.class_distance(log_probs, labels)
                if len(labels.unique()) > 1:
                    figures["quadratic_kappa"] = metrics.quadratic_kappa(log_probs, labels)
            if self.prepared.n_classes == 2 and len(labels.unique()) == 2:
                figures["auroc"] = metrics.auroc(log_probs, labels)
        confidence = log_probs.double().exp().amax(-1)
        return Scored(log_probs.argmax(-1) == labels, figures, confidence, metrics.confusion(log_probs, labels))

    def asked(self, seed: SeedContext, voters: ClassVoters, rows: Int[Tensor, " rows"]) -> ClassVoters:
        assert voters.ask is not None, "every row of the table can be asked"
        says, log_probs = voters.ask(self.prepared, seed, rows), dict[str, Tensor]()
        for part, own in rows_of(self.prepared, seed).items():
            inside = torch.isin(own, rows)
            log_probs[part] = voters.log_probs[part].clone()
            log_probs[part][inside] = says[torch.searchsorted(rows, own[inside])]
        return replace(voters, log_probs=log_probs)

    def hard_answers(self, voters: ClassVoters) -> Int[Tensor, " hard"] | None:
        said = voters.log_probs.get(HARD)
        return None if said is None else said.argmax(-1)

    def hard_right(self, seed: SeedContext, voters: ClassVoters, truth: Truth) -> Bool[Tensor, " hard"] | None:
        assert isinstance(truth, Tensor)
        said = self.hard_answers(voters)
        return None if said is None else said == truth

    def growth(self, seed: SeedContext, ensemble: Ensemble, part: str, truth: Truth | None) -> Growth:
        rows, labels = rows_of(self.prepared, seed)[part], self._labels(seed, part, truth)
        answers = torch.stack([expert.log_probs[rows].argmax(-1) for expert in ensemble.experts])
        together = torch.stack([stage.argmax(-1) for stage in ensemble.stages(rows)])
        return Growth(answers == labels, together == labels, metrics.all_wrong_share(answers, labels))

    def test_cost(self, seed: SeedContext, ensemble: Ensemble, truths: Mapping[str, Truth]) -> Cost:
        return NOTHING  # an expert's one evaluation has the tests

    def signals(
        self, seed: SeedContext, labels: Mapping[str, Any], ensemble: Ensemble, on_easy: ClassVoters
    ) -> RoutingRecord:
        choices, hard = self.prepared.task.choices, labels[ensemble.method]
        assert isinstance(hard, WeakLabels)
        own, checker_val = ClassStudents(self.prepared).checker_says(seed, on_easy)
        val = ensemble.label(seed.draw.easy_val, [])
        if (voters := SeedVoters.of(self.prepared, seed)) is not None:
            assert self.prepared.votes is not None
            models = ensemble.label(seed.draw.hard_unlabelled, [])
            on_val = self.prepared.votes.on(seed.draw.easy_val)
            val = joined_labels(val, voters.names, on_val, voters.trust(models.soft))
        truth = self.prepared.split.easy_labels[seed.draw.easy_val]
        answers = hard.member.argmax(-1)
        if hard.voted is not None:
            answers[~hard.voted] = len(choices)
        named = (*choices, "")  # an abstention is an empty answer
        members = [tuple(named[k] for k in member) for member in answers.T.tolist()]
        trusted = Trusted(
            signals_of(val.soft, val.member, checker_val, val.voted),
            val.soft.argmax(-1) == truth,
            checker_val.argmax(-1) == truth,
        )
        return RoutingRecord(
            seed.seed,
            ensemble.method,
            hard.ids,
            tuple(choices[k] for k in hard.hard.tolist()),
            tuple(members),
            tuple(choices[k] for k in own.argmax(-1).tolist()),
            signals_of(hard.soft, hard.member, own, hard.voted),
            trusted,
        )

    def right_labels(self, answers: Sequence[str], truth: Truth) -> Bool[Tensor, " items"]:
        assert isinstance(truth, Tensor)
        choices = self.prepared.task.choices
        return torch.tensor([answer == choices[k] for answer, k in zip(answers, truth.tolist(), strict=True)])

    def pseudo_labels(self, labels: Mapping[str, Any], truth: Truth) -> dict[str, PseudoLabels]:
        return {}  # the conditions' own confidence is shown

    def restarts(self, labels: Mapping[str, Any], truth: Truth) -> dict[str, Restarted]:
        return {}  # a class is not written line by line

    def voters(
        self, seed: SeedContext, labels: Mapping[str, Any], ensemble: Ensemble, truth: Truth | None
    ) -> ScoredVoters | None:
        voters = SeedVoters.of(self.prepared, seed)
        if voters is None:
            return None
        hard, models = labels[ensemble.method], ensemble.label(seed.draw.hard_unlabelled, [])
        trust = voters.trust(models.soft)
        assert truth is None or isinstance(truth, Tensor)
        return ScoredVoters(
            voters.names,
            trust.reliability(self.prepared.n_classes),
            trust.is_known,
            voters.easy.voted.sum(1),
            right_votes(voters.easy, voters.easy_labels),
            voters.hard.voted.sum(1),
            None if truth is None else right_votes(voters.hard, truth),
            voters.hard.voted.any(0),
            None if truth is None else models.hard == truth,
            None if truth is None else hard.hard == truth,
        )

    def best_of_n(self, seed: SeedContext, labels: Mapping[str, Any], judges: Any, truth: Truth) -> dict[str, Any]:
        return {}  # no judge reads classes

    def samples(
        self, seed: SeedContext, labels: Mapping[str, Any], method: str, truth: Truth | None
    ) -> tuple[AnswerSample, ...]:
        return ()

    def token_weights(self, seed: SeedContext, ensembles: Mapping[str, Ensemble]) -> tuple[TokenWeights, ...]:
        return ()

    def _labels(self, seed: SeedContext, part: str, truth: Truth | None) -> Int[Tensor, " items"]:
        if truth is None:
            return self.prepared.split.easy_labels[rows_of(self.prepared, seed)[part]]
        assert isinstance(truth, Tensor)
        return truth
