"""Those who classify, asked once more: of prompts that are worded otherwise than what they were evaluated on.

Each expert and each student answers a set of prompts once; the store keeps what it said.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from ensemw2s.config import ModelConfig, TrainConfig, canonical_hash
from ensemw2s.core.losses import SOFTMAX
from ensemw2s.ensemble.label import Ensemble
from ensemw2s.ensemble.learners.prompted import OFFSET, calibrated
from ensemw2s.ensemble.learners.tfidf import TfidfModel
from ensemw2s.forms.classification.prepare import ClassPrepared
from ensemw2s.forms.classification.role import ClassRole
from ensemw2s.forms.classification.tfidf import TfidfRole
from ensemw2s.forms.prepared import SeedContext
from ensemw2s.models.adapting.adapters import load_owned
from ensemw2s.records import Expert, Inputs
from ensemw2s.storage.store import Artifact, artifact_key
from ensemw2s.train.loop import predict

VERSION = 1
"""Raise it when the same model would say something else of the same prompt."""
LogProbs = Float[Tensor, "rows classes"]
Ask = Callable[[ClassPrepared, SeedContext, Int[Tensor, " rows"]], LogProbs]
"""From a run whose tests are worded otherwise and rows of its split to what somebody says of them."""


def expert_says(
    prepared: ClassPrepared,
    seed: SeedContext,
    rows: Int[Tensor, " rows"],
    expert: Expert,
    key: str,
    model: ModelConfig | None = None,
) -> LogProbs:
    """What an expert says of these rows.

    Args:
        key: of its artifact.
        model: its settings, where they are not those of the weak model.
    """
    role, contexts, view = prepared.pool[expert.member], prepared.contexts.get(seed.seed), expert.view

    def compute() -> LogProbs:
        if isinstance(role, TfidfRole):
            return TfidfModel(expert.state, prepared.n_classes).log_probs(prompts_of(prepared, rows))
        inputs = role.inputs if view.depth is None else role.at_depth[view.depth]
        if view.context is not None:
            assert contexts is not None, "prepared where members read contexts"
            if expert.state.keys() == {OFFSET}:
                return calibrated(contexts.ask(view.context, rows), expert.state[OFFSET])
            inputs = contexts.pooled(view.context)
        own = role if model is None else replace(role, config=model)
        return _predicted(own, expert.state, prepared.config.expert_training, prepared, inputs, rows)

    return _kept(prepared, seed, key, rows, compute)


def ensemble_says(
    prepared: ClassPrepared,
    seed: SeedContext,
    rows: Int[Tensor, " rows"],
    ensemble: Ensemble,
    model: ModelConfig | None = None,
) -> LogProbs:
    """The calibrated vote of the experts that vote; `model` as in `expert_says`."""
    voting = zip(ensemble.voting, ensemble.keys, strict=False)
    experts = [replace(e, log_probs=expert_says(prepared, seed, rows, e, key, model)) for e, key in voting]
    gate = ensemble.gate
    if gate is not None:
        role = prepared.pool[0]
        assert isinstance(role, ClassRole), "checked with the settings"
        gate = replace(gate, scores=gate.gate.scores(role.features(rows)))
    return replace(ensemble, experts=tuple(experts), gate=gate).log_probs(torch.arange(len(rows)))


def student_says(
    prepared: ClassPrepared,
    seed: SeedContext,
    rows: Int[Tensor, " rows"],
    state: Mapping[str, Tensor],
    key: str,
    link: str,
) -> LogProbs:
    """What a student says of these rows; `key` is that of its artifact, `link` that of the loss it learned by."""
    role, training = prepared.strong, prepared.config.student_training

    def compute() -> LogProbs:
        return _predicted(role, state, training, prepared, role.inputs, rows, link)

    return _kept(prepared, seed, key, rows, compute)


def prompts_of(prepared: ClassPrepared, rows: Int[Tensor, " rows"]) -> list[str]:
    """The prompts of these rows."""
    return [prepared.split.examples[row].prompt for row in rows.tolist()]


def _predicted(
    role: ClassRole,
    state: Mapping[str, Tensor],
    training: TrainConfig,
    prepared: ClassPrepared,
    inputs: Inputs,
    rows: Int[Tensor, " rows"],
    link: str = SOFTMAX,
) -> LogProbs:
    module = role.builder(training, prepared.n_classes)(Generator())  # every parameter comes from the state
    load_owned(module, state)
    return predict(module, inputs, rows, link=link, batch_tokens=prepared.config.cache.batch_tokens)


def _kept(
    prepared: ClassPrepared, seed: SeedContext, key: str, rows: Int[Tensor, " rows"], compute: Callable[[], LogProbs]
) -> LogProbs:
    deciding = {"of": key, "prompts": canonical_hash(prompts_of(prepared, rows))}
    made = seed.memo("asked", artifact_key(VERSION, deciding), lambda: Artifact({"log_probs": compute()}, {}))
    return made.tensors["log_probs"]
