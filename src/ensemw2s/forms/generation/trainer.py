"""What trains experts that generate answers: the easy answers of one seed, as boosting weighs them."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from ensemw2s.config import TrainConfig, canonical_hash
from ensemw2s.ensemble.fit import EnsembleState, FittedExpert, Spent
from ensemw2s.ensemble.methods import Draw, make_method
from ensemw2s.ensemble.words.tokens import (
    WeakAnswers,
    asked_answer_expert,
    errors,
    fit_answer_expert,
    held_out_errors,
    next_draw,
    prior_error,
    wrong_samples,
)
from ensemw2s.forms.generation.contexts import AnswerContexts, Prefix
from ensemw2s.forms.generation.prepare import AnswerPrepared
from ensemw2s.forms.generation.role import AnswerRole
from ensemw2s.storage.store import Artifact
from ensemw2s.train.answers import AnswerValidation, ended_by
from ensemw2s.training_end import TrainingEnd


@dataclass(frozen=True)
class AnswerTrainer:
    """The easy answers of one seed."""

    prepared: AnswerPrepared
    role: AnswerRole
    weak: WeakAnswers
    contexts: AnswerContexts | None = None
    """What members read before each question; None where none does."""

    @property
    def training(self) -> TrainConfig:
        return self.weak.training

    @property
    def n_samples(self) -> int:
        return self.weak.n_samples

    @property
    def judges_apart(self) -> bool:
        return self.weak.options is not None

    def draw(self, state: EnsembleState) -> Draw:
        everything = torch.arange(len(self.weak.rows))
        return next_draw(self.weak, state, self.prepared.config.ensemble, everything, state.next_stream)

    def deciding(self, state: EnsembleState, draw: Draw) -> dict[str, Any]:
        generation = self.prepared.config.generation
        method, prefix = make_method(state.method, self.prepared.config.ensemble), self._prefix(state)
        return {
            **({"prefix": prefix.ids} if prefix is not None and prefix.ids else {}),
            **({} if method.learns else {"learns": False}),
            "answers": canonical_hash([self.weak.answers.ids[r] for r in self.weak.rows.tolist()]),
            "weak": self.role.fingerprint,
            # What a sample is decides nothing where all count alike.
            "samples": None if draw.is_even else [generation.boost_unit, generation.count_trivial],
            **ended_by(self.weak.validation, self.training),
        }

    def _prefix(self, state: EnsembleState) -> Prefix | None:
        """What the next expert reads before each question."""
        number = state.next_view(self.prepared.config.ensemble, 0).context
        if number is None:
            return None
        assert self.contexts is not None, "made where a method reads them"
        return self.contexts.prefixes[number]

    def _behind(self, prefix: Prefix) -> WeakAnswers:
        """The easy answers where a text stands before each question."""
        answers = self.weak.answers.behind(prefix.ids, prefix.n_start)
        inputs, validation = self.role.open(answers.read), self.weak.validation
        if validation is not None:
            validation = AnswerValidation(inputs, answers, validation.rows)
        return replace(self.weak, answers=answers, inputs=inputs, validation=validation)

    def fit(self, state: EnsembleState) -> Artifact:
        prefix, config = self._prefix(state), self.prepared.config.ensemble
        weak = self.weak if prefix is None else self._behind(prefix)
        if make_method(state.method, config).learns:
            fitted = fit_answer_expert(weak, state, config)
        else:
            fitted = asked_answer_expert(weak, *self.role.load([{}]))
        tensors = {f"state/{name}": t for name, t in fitted.state.items()}
        tensors |= {"gold": fitted.log_probs, "is_wrong": fitted.is_wrong}
        return Artifact(tensors, fitted.record)

    def fitted(self, artifact: Artifact, state: EnsembleState) -> FittedExpert:
        tensors = artifact.tensors
        is_wrong = wrong_samples(self.weak, tensors["is_wrong"], self.weak.rows)
        spent, end = Spent.of(artifact.record), TrainingEnd.of(artifact.record)
        view = state.next_view(self.prepared.config.ensemble, 0)
        return FittedExpert(artifact.state, tensors["gold"], is_wrong, spent, view, end)

    def errors(self, fitted: FittedExpert) -> Bool[Tensor, " samples"]:
        if not self.judges_apart:
            return fitted.is_wrong
        (model,) = self.role.load([fitted.state])
        return errors(self.weak, model, torch.arange(len(self.weak.rows)))

    def held_out_errors(self, state: EnsembleState) -> tuple[Bool[Tensor, " samples"], Spent]:
        return held_out_errors(self.weak, state, self.prepared.config.ensemble)

    def judging(self) -> dict[str, Any]:
        options, generation = self.weak.options, self.weak.generation
        return {
            "groups": list(self.weak.group_ids),
            "samples": [generation.boost_unit, generation.count_trivial],
            "options": None if options is None else canonical_hash([list(options.answers.ids), options.true.tolist()]),
        }

    def prior_error(self) -> float:
        return prior_error(self.weak, self.prepared.config.ensemble)
