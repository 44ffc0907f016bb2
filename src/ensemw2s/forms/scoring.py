"""Answers held against the truth, as the pipeline asks a form for them."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Bool, Int
from torch import Tensor

from ensemw2s.ensemble.label import Ensemble
from ensemw2s.evaluation.routing_signals import RoutingRecord
from ensemw2s.evaluation.scored import Growth, PseudoLabels, Restarted, SamplesRight, Scored, ScoredVoters
from ensemw2s.forms.prepared import SeedContext, Truth
from ensemw2s.results import AnswerSample, Cost, TokenWeights


@runtime_checkable
class ScoringForm(Protocol):
    """Answers held against the truth, which the pipeline has opened."""

    def score(self, seed: SeedContext, voters: Any, part: str, truth: Truth | None) -> Scored:
        """A condition's answers to a part; the truth of easy-val is known to the form."""
        ...

    def asked(self, seed: SeedContext, voters: Any, rows: Int[Tensor, " rows"]) -> Any:
        """The voters of a run whose prompts differ from those of this form's in these rows, asked these."""
        ...

    def hard_answers(self, voters: Any) -> Int[Tensor, " hard"] | None:
        """The classes that a condition gives to the unlabelled examples; None where it was not asked."""
        ...

    def hard_right(self, seed: SeedContext, voters: Any, truth: Truth) -> Bool[Tensor, " hard"] | None:
        """Which of the unlabelled examples a student answers truly; None where it was not asked."""
        ...

    def growth(self, seed: SeedContext, ensemble: Ensemble, part: str, truth: Truth | None) -> Growth: ...

    def test_cost(self, seed: SeedContext, ensemble: Ensemble, truths: Mapping[str, Truth]) -> Cost:
        """What the ensemble's evaluation on the tests cost beyond `ExpertForm.cost`."""
        ...

    def signals(self, seed: SeedContext, labels: Mapping[str, Any], ensemble: Ensemble, on_easy: Any) -> RoutingRecord:
        """What routing decides by; `on_easy` is the strong model that learned the easy labels."""
        ...

    def right_labels(self, answers: Sequence[str], truth: Truth) -> Bool[Tensor, " items"]:
        """Which of these answers to the unlabelled items are true."""
        ...

    def pseudo_labels(self, labels: Mapping[str, Any], truth: Truth) -> dict[str, PseudoLabels]:
        """Confidence and truth of each ensemble's labels, where they are shown as a reliability diagram."""
        ...

    def restarts(self, labels: Mapping[str, Any], truth: Truth) -> dict[str, Restarted]:
        """Teacher to its own answers and the samples that went on from them (`generation.restart`), where there are."""
        ...

    def voters(
        self, seed: SeedContext, labels: Mapping[str, Any], ensemble: Ensemble, truth: Truth | None
    ) -> ScoredVoters | None:
        """Outside voters, and the labels that they and this ensemble came to; None where there are no such voters."""
        ...

    def best_of_n(
        self, seed: SeedContext, labels: Mapping[str, Any], judges: Any, truth: Truth
    ) -> Mapping[str, Sequence[SamplesRight]]:
        """What choices among each teacher's drawn answers to the unlabelled items are worth, where there are some."""
        ...

    def samples(
        self, seed: SeedContext, labels: Mapping[str, Any], method: str, truth: Truth | None
    ) -> tuple[AnswerSample, ...]:
        """A few unlabelled questions with what was answered."""
        ...

    def token_weights(self, seed: SeedContext, ensembles: Mapping[str, Ensemble]) -> tuple[TokenWeights, ...]:
        """Which tokens boosting weighs most."""
        ...
