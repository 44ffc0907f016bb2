"""The experts of an ensemble of classifiers as one classifier."""

from dataclasses import replace

import torch
from torch import Generator, Tensor, nn

from ensemw2s.core import metrics
from ensemw2s.core.calibration import apply_temperature, fit_temperature
from ensemw2s.ensemble.label import Ensemble
from ensemw2s.forms.classification.prepare import ClassPrepared
from ensemw2s.forms.classification.role import ClassRole
from ensemw2s.forms.merging import SCALES, Merging, best_scale
from ensemw2s.forms.prepared import SeedContext
from ensemw2s.models.adapting.adapters import load_owned
from ensemw2s.models.adapting.merging import start_of
from ensemw2s.storage.store import Artifact
from ensemw2s.train.loop import predict


def merged_classifier(
    prepared: ClassPrepared, seed: SeedContext, made: Ensemble, name: str
) -> tuple[Merging, Ensemble]:
    """A merge of the voting experts: its scale and temperature chosen on easy-val, then asked once for everything."""
    role, rows = prepared.pool[0], seed.draw.easy_val
    assert isinstance(role, ClassRole), "checked with the settings"
    labels, merging = prepared.split.easy_labels[rows], Merging(made, name, role.config)
    training = prepared.config.training_of_experts

    def untrained(of: ClassRole) -> nn.Module:
        return of.builder(training, prepared.n_classes)(Generator())

    def figure(log_probs: Tensor) -> float:
        if merging.by_accuracy:
            return metrics.accuracy(log_probs, labels)
        return -metrics.log_loss(apply_temperature(log_probs, temperature(log_probs)), labels)

    def temperature(log_probs: Tensor) -> float:
        return fit_temperature(log_probs, labels) if made.config.temperature == "fit" else 1.0

    def compute() -> Artifact:
        start = start_of(untrained(role))
        change, module = merging.change(start), untrained(replace(role, config=merging.merged_model))

        def asked(scale: float, of: Tensor) -> Tensor:
            load_owned(module, change.state(start, scale))
            return predict(module, role.inputs, of)

        scale = best_scale([figure(asked(each, rows)) for each in SCALES])
        state = {f"state/{key}": tensor for key, tensor in change.state(start, scale).items()}
        log_probs = asked(scale, torch.arange(len(prepared.split.examples)))
        return Artifact(state | {"log_probs": log_probs}, {"scale": scale, "kept": change.kept})

    key = merging.key(data=prepared.fingerprint, validation=rows.tolist(), temperature=made.config.temperature)
    artifact = seed.memo("merged", key, compute)
    log_probs = artifact.tensors["log_probs"]
    return merging, merging.ensemble(artifact.state, log_probs, temperature(log_probs[rows]), key)
