"""An ensemble of classifiers: size and temperature chosen on easy validation data, and its labels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ensemw2s.config import EnsembleConfig
from ensemw2s.core import metrics, voting
from ensemw2s.core.calibration import apply_temperature, fit_temperature
from ensemw2s.core.gating import Gate, gated_stages
from ensemw2s.records import Expert, WeakLabels


@dataclass(frozen=True)
class EvaluatedGate:
    """A gate over members, evaluated once on every example of the run."""

    gate: Gate
    scores: Float[Tensor, "experts examples"]


class Chosen(NamedTuple):
    """What easy validation data choose."""

    selected: int
    """T."""
    temperature: float
    gate: EvaluatedGate | None = None
    """Over all members, where it wins; T is their number then."""


@dataclass(frozen=True)
class Ensemble:
    """The first `selected` experts of one method and seed, with their calibrated vote."""

    method: str
    seed: int
    experts: tuple[Expert, ...]
    """All trained experts, including those beyond the selected size."""
    selected: int
    temperature: float
    prior_error: float
    config: EnsembleConfig
    keys: tuple[str, ...] = ()
    """Of the experts' artifacts."""
    gate: EvaluatedGate | None = None
    """`vote: gated`: over all experts; None where the plain vote is used."""

    @property
    def voting(self) -> tuple[Expert, ...]:
        """The experts that vote."""
        return self.experts[: self.selected]

    @property
    def expert_ids(self) -> tuple[str, ...]:
        """Names of the experts that vote, by which labels are traced back to them."""
        return tuple(f"{self.method}/{expert.seed:016x}" for expert in self.voting)

    def weights(self, n_experts: int) -> Float[Tensor, " experts"]:
        """Vote weights of the first experts: alpha in nats, or 1 each."""
        return expert_weights(self.experts[:n_experts], self.config)

    def stages(self, rows: Int[Tensor, " batch"]) -> list[Float[Tensor, "batch classes"]]:
        """Uncalibrated vote of the first t experts for every t, from one evaluation of each expert."""
        return list(self._staged(rows, len(self.experts)))

    def log_probs(self, rows: Int[Tensor, " batch"], *, n_experts: int | None = None) -> Float[Tensor, "batch classes"]:
        """Calibrated vote of the selected (or the first `n_experts`) experts."""
        *_, combined = self._staged(rows, n_experts or self.selected)
        return apply_temperature(combined, self.temperature)

    def _staged(self, rows: Int[Tensor, " batch"], size: int) -> Iterator[Float[Tensor, "batch classes"]]:
        members, weights = _members(self.experts[:size], rows), self.weights(size)
        if self.gate is not None:
            return gated_stages(members, weights, self.gate.scores[:size, rows])
        return voting.staged(members, weights, vote=self.config.plain_vote)

    def label(self, rows: Int[Tensor, " batch"], ids: Sequence[str]) -> WeakLabels:
        """Pseudo-labels with everything needed to trace them (EnsemW2S, 2410.04571)."""
        members = _members(self.voting, rows)
        log_probs = self.log_probs(rows)
        return WeakLabels(
            ids=tuple(ids),
            soft=log_probs.exp(),
            member=members.exp(),
            confidence=log_probs.exp().amax(-1),
            agreement=voting.agreement(members, log_probs),
            expert_ids=self.expert_ids,
            expert_weights=self.weights(self.selected),
            temperature=self.temperature,
        )


def choose(
    experts: Sequence[Expert],
    config: EnsembleConfig,
    val_rows: Int[Tensor, " batch"],
    val_labels: Int[Tensor, " batch"],
    *,
    seed: int,
    prior_error: float,
) -> Ensemble:
    """An ensemble of these experts whose size and temperature are chosen as in `best_size`."""
    chosen = best_size(experts, config, val_rows, val_labels)
    return Ensemble(experts[0].method, seed, tuple(experts), chosen.selected, chosen.temperature, prior_error, config)


def best_size(
    experts: Sequence[Expert],
    config: EnsembleConfig,
    val_rows: Int[Tensor, " batch"],
    val_labels: Int[Tensor, " batch"],
) -> Chosen:
    """T by the configured rule (or as configured) and the temperature, both from easy validation data alone.

    Ties go to the smaller ensemble.
    """
    weights = expert_weights(experts, config)
    stages = list(voting.staged(_members(experts, val_rows), weights, vote=config.plain_vote))
    # Each stage is calibrated before its log loss is compared: an uncalibrated vote of few experts is overconfident.
    is_fitted = config.temperature == "fit"
    temperatures = [fit_temperature(stage, val_labels) if is_fitted else 1.0 for stage in stages]
    calibrated = [apply_temperature(s, t) for s, t in zip(stages, temperatures, strict=True)]
    if isinstance(config.select_by, int):
        return Chosen(size := min(config.select_by, len(stages)), temperatures[size - 1])
    if config.select_by == "accuracy":
        scores = [metrics.accuracy(c, val_labels) for c in calibrated]
    else:
        scores = [-metrics.log_loss(c, val_labels) for c in calibrated]
    best = max(range(len(scores)), key=scores.__getitem__)
    return Chosen(best + 1, temperatures[best])


def expert_weights(experts: Sequence[Expert], config: EnsembleConfig) -> Float[Tensor, " experts"]:
    """Vote weight of each expert: alpha, or 1 with `expert_weights: equal`."""
    if config.expert_weights == "equal":
        return torch.ones(len(experts))
    return torch.tensor([e.expert_weight for e in experts])


def _members(experts: Sequence[Expert], rows: Int[Tensor, " batch"]) -> Float[Tensor, "experts batch classes"]:
    return torch.stack([e.log_probs[rows] for e in experts])
