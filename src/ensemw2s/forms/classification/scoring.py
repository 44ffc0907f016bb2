"""Predicted classes held against the true ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ensemw2s.core import metrics
from ensemw2s.core.labels import Votes
from ensemw2s.core.routing import Trusted, signals_of
from ensemw2s.data.balance import is_uneven
from ensemw2s.ensemble.label import Ensemble
from ensemw2s.evaluation.costs import NOTHING
from ensemw2s.evaluation.routing_signals import RoutingRecord
from ensemw2s.evaluation.scored import VAL, Growth, PseudoLabels, Scored
from ensemw2s.forms.base import SeedContext, Truth, rows_of
from ensemw2s.forms.classification.experts import ClassVoters
from ensemw2s.forms.classification.prepare import ClassPrepared
from ensemw2s.forms.classification.students import ClassStudents
from ensemw2s.records import WeakLabels
from ensemw2s.results import AnswerSample, Cost, TokenWeights
from ensemw2s.results.conditions import SELF


@dataclass(frozen=True)
class ClassScoring:
    """Implements `forms.base.ScoringForm`."""

    prepared: ClassPrepared

    def score(self, seed: SeedContext, voters: ClassVoters, part: str, truth: Truth | None) -> Scored:
        log_probs, labels = voters.log_probs[part], self._labels(seed, part, truth)
        figures = {"log_loss": metrics.log_loss(log_probs, labels)}
        if part != VAL:
            figures |= {"brier": metrics.brier(log_probs, labels), "ece": metrics.ece(log_probs, labels)}
            figures["macro_f1"] = metrics.macro_f1(log_probs, labels)
            if is_uneven(labels):
                figures["balanced_accuracy"] = metrics.balanced_accuracy(log_probs, labels)
            if self.prepared.n_classes == 2 and len(labels.unique()) == 2:
                figures["auroc"] = metrics.auroc(log_probs, labels)
        confidence = log_probs.double().exp().amax(-1)
        return Scored(log_probs.argmax(-1) == labels, figures, confidence, metrics.confusion(log_probs, labels))

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
        own: Votes = labels[SELF]
        val = ensemble.label(seed.draw.easy_val, [])
        truth = self.prepared.split.easy_labels[seed.draw.easy_val]
        checker_val = ClassStudents(self.prepared).checker_says(seed, on_easy)[1]
        members = [tuple(choices[k] for k in member) for member in hard.member.argmax(-1).T.tolist()]
        trusted = Trusted(
            signals_of(val.soft, val.member, checker_val),
            val.soft.argmax(-1) == truth,
            checker_val.argmax(-1) == truth,
        )
        return RoutingRecord(
            seed.seed,
            ensemble.method,
            hard.ids,
            tuple(choices[k] for k in hard.hard.tolist()),
            tuple(members),
            tuple(choices[k] for k in own.soft.argmax(-1).tolist()),
            signals_of(hard.soft, hard.member, own.soft),
            trusted,
        )

    def right_labels(self, answers: Sequence[str], truth: Truth) -> Bool[Tensor, " items"]:
        assert isinstance(truth, Tensor)
        choices = self.prepared.task.choices
        return torch.tensor([answer == choices[k] for answer, k in zip(answers, truth.tolist(), strict=True)])

    def pseudo_labels(self, labels: Mapping[str, Any], truth: Truth) -> dict[str, PseudoLabels]:
        return {}  # the conditions' own confidence is shown

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
