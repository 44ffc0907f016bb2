"""Experts, as the pipeline asks a form for them: how they are trained, chosen, and what they say."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Bool
from torch import Tensor

from ensemw2s.config import TrainConfig
from ensemw2s.ensemble.fit import EnsembleState, FittedExpert, Spent
from ensemw2s.ensemble.label import Chosen, Ensemble
from ensemw2s.ensemble.methods import Draw as ExpertDraw
from ensemw2s.forms.merging import Merged
from ensemw2s.forms.prepared import SeedContext
from ensemw2s.records import Expert
from ensemw2s.results import Cost
from ensemw2s.storage.store import Artifact


@runtime_checkable
class ExpertTrainer(Protocol):
    """What the experts of one seed learn from: what boosting weighs, and how an expert is fitted to it."""

    @property
    def training(self) -> TrainConfig: ...

    @property
    def n_samples(self) -> int:
        """What boosting weighs: examples, answer tokens or whole answers."""
        ...

    @property
    def judges_apart(self) -> bool:
        """Whether the errors that boosting follows take a pass of their own, and do not come with the fit."""
        ...

    def draw(self, state: EnsembleState) -> ExpertDraw:
        """What the next expert learns from."""
        ...

    def deciding(self, state: EnsembleState, draw: ExpertDraw) -> dict[str, Any]:
        """What decides the next expert beside its draw, training settings and stream: for its key in the store."""
        ...

    def fit(self, state: EnsembleState) -> Artifact:
        """Train the next expert and evaluate it."""
        ...

    def fitted(self, artifact: Artifact, state: EnsembleState) -> FittedExpert:
        """The expert of an artifact that `fit` made."""
        ...

    def errors(self, fitted: FittedExpert) -> Bool[Tensor, " samples"]:
        """Which samples the expert gets wrong."""
        ...

    def held_out_errors(self, state: EnsembleState) -> tuple[Bool[Tensor, " samples"], Spent]:
        """Which samples the like of the next expert on folds that they did not see gets wrong; and what that read."""
        ...

    def judging(self) -> dict[str, Any]:
        """What decides which samples are wrong beside the expert and the number of folds: for the errors' key."""
        ...

    def prior_error(self) -> float:
        """Error rate of the reference classifier that alpha is measured against (chance, unigram or pretrained)."""
        ...


@runtime_checkable
class ExpertForm(Protocol):
    """Experts and what they say."""

    def trainers(self, seed: SeedContext, training: TrainConfig) -> Sequence[ExpertTrainer]:
        """What trains the experts of a seed, for each weak model of the pool, as `training` is resolved for it."""
        ...

    def choose(self, seed: SeedContext, experts: Sequence[Expert], keys: Sequence[str]) -> Chosen:
        """T, the temperature and whether a gate is used, all on easy-val; ties go to the smaller ensemble."""
        ...

    def member_accuracy(self, seed: SeedContext, experts: Sequence[Expert], keys: Sequence[str]) -> list[float]:
        """Accuracy of each expert alone on easy-val."""
        ...

    def ensemble_voters(self, seed: SeedContext, ensemble: Ensemble) -> Any:
        """The chosen experts as those who answer."""
        ...

    def expert_voters(self, seed: SeedContext, expert: Expert, key: str) -> Any:
        """One expert as the one who answers."""
        ...

    def merge(self, seed: SeedContext, ensemble: Ensemble, name: str) -> Merged:
        """One model of the voting experts, by the merge of that name."""
        ...

    def cost(self, seed: SeedContext, experts: Sequence[Expert], training: TrainConfig) -> Cost:
        """Training these experts, and evaluating each once on what is known of it before the tests are opened."""
        ...

    def label(self, seed: SeedContext, ensemble: Ensemble, voters: Any) -> tuple[Any, Cost]:
        """The ensemble's labels of the unlabelled examples, and what labelling cost beside the evaluation."""
        ...
