"""A weak model of a run as a member of its pool: experts and their errors come from the store, or are kept there."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from jaxtyping import Bool
from torch import Tensor

from ensemw2s.config import ExperimentConfig, canonical_hash
from ensemw2s.ensemble.fit import EnsembleState, FittedExpert, Spent
from ensemw2s.ensemble.methods import make_method
from ensemw2s.ensemble.pool import follows_folds
from ensemw2s.forms.experts import ExpertTrainer
from ensemw2s.forms.prepared import SeedContext
from ensemw2s.storage.store import Artifact, artifact_key

EXPERT_VERSION = 5


@dataclass(frozen=True)
class StoredMember:
    """Implements `ensemble.pool.PoolMember`."""

    trainer: ExpertTrainer
    context: SeedContext
    config: ExperimentConfig

    def key(self, state: EnsembleState) -> str:
        """Of its next expert in the store: all that decides it and nothing else."""
        draw = self.trainer.draw(state)
        return artifact_key(
            EXPERT_VERSION,
            {
                **self.trainer.deciding(state, draw),
                "training": self.trainer.training.deciding,
                "stream": state.next_stream,
                "draw": canonical_hash(draw.rows.tolist()),
                "weights": None if draw.is_even else canonical_hash(draw.weights.tolist()),
            },
        )

    def fit(self, state: EnsembleState) -> FittedExpert:
        artifact = self.context.memo("experts", self.key(state), lambda: self.trainer.fit(state))
        fitted, ensemble = self.trainer.fitted(artifact, state), self.config.ensemble
        method = make_method(state.method, ensemble, self.config.generation)
        by_folds = follows_folds(state.method, ensemble, len(self.config.pool))
        if by_folds or not (method.needs_errors and self.trainer.judges_apart):
            return fitted

        def judge() -> Artifact:
            return Artifact({"is_wrong": self.trainer.errors(fitted)}, Spent().record)

        return replace(fitted, is_wrong=self._judged(state, None, judge).tensors["is_wrong"])

    def held_out(self, state: EnsembleState) -> tuple[Bool[Tensor, " samples"], Spent]:
        def judge() -> Artifact:
            is_wrong, spent = self.trainer.held_out_errors(state)
            return Artifact({"is_wrong": is_wrong}, spent.record)

        judged = self._judged(state, self.config.ensemble.n_folds, judge)
        return judged.tensors["is_wrong"], Spent.of(judged.record)

    def _judged(self, state: EnsembleState, n_folds: int | None, judge: Callable[[], Artifact]) -> Artifact:
        weights = canonical_hash(state.sample_weights.tolist())
        deciding = {"expert": self.key(state), "folds": n_folds, "weights": weights} | self.trainer.judging()
        return self.context.memo("errors", artifact_key(EXPERT_VERSION, deciding), judge)
