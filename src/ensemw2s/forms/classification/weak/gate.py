"""A gate over the experts of one method and seed, learned on one half of easy-val and judged on the other."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ensemw2s.core import sampling
from ensemw2s.core.calibration import apply_temperature, fit_temperature
from ensemw2s.core.gating import Gate, fit_gate, gated_stages, shows_gain
from ensemw2s.core.seeds import stream
from ensemw2s.core.voting import combine
from ensemw2s.ensemble.label import Chosen, EvaluatedGate, expert_weights
from ensemw2s.forms.classification.prepare import ClassPrepared
from ensemw2s.forms.classification.role import ClassRole
from ensemw2s.forms.prepared import SeedContext
from ensemw2s.records import Expert
from ensemw2s.storage.store import Artifact, artifact_key

GATE_VERSION = 1


def gated(
    prepared: ClassPrepared, seed: SeedContext, experts: Sequence[Expert], keys: Sequence[str], plain: Chosen
) -> Chosen:
    """The gated vote of all experts where it is better than the plain vote on data that neither gate nor experts saw.

    Args:
        plain: what easy-val chooses for the plain vote.
    """
    config, groups = prepared.config.ensemble, prepared.split.groups[seed.draw.easy_val]
    n_trained = len(experts)
    experts = experts[: config.select_by] if isinstance(config.select_by, int) else experts
    if len(experts) < 2 or len(groups.unique()) < 2:
        return plain
    weights = expert_weights(experts, config)
    key = artifact_key(
        GATE_VERSION,
        {
            "experts": list(keys[: len(experts)]),
            "weights": weights.tolist(),
            "plain": [plain.selected, config.select_by, config.temperature],
            "l2": config.gate_l2,
            "data": prepared.fingerprint,
            "validation": seed.draw.easy_val.tolist(),
            "groups": groups.tolist(),
            "features": prepared.pool[0].fingerprint,
            "seed": seed.seed,
        },
    )

    def compute() -> Artifact:
        return _learned(prepared, seed, torch.stack([expert.log_probs for expert in experts]), weights, plain.selected)

    artifact = seed.memo("gates", key, compute)
    if not artifact.record["wins"]:
        return plain
    tensors = artifact.tensors
    gate = Gate(tensors["weight"], tensors["mean"], tensors["scale"])
    # Members beyond a given T, which only figures of larger sizes show, keep their weight in the plain vote.
    scores = torch.nn.functional.pad(tensors["scores"], (0, 0, 0, n_trained - len(experts)))
    return Chosen(len(experts), artifact.record["temperature"], EvaluatedGate(gate, scores))


def _learned(
    prepared: ClassPrepared,
    seed: SeedContext,
    members: Float[Tensor, "experts examples classes"],
    weights: Float[Tensor, " experts"],
    n_plain: int,
) -> Artifact:
    """The gate, its scores of every example, and whether it wins."""
    config, role, rows = prepared.config.ensemble, prepared.pool[0], seed.draw.easy_val
    assert isinstance(role, ClassRole), "checked with the settings"
    groups, labels = prepared.split.groups[rows], prepared.split.easy_labels[rows]
    # Experts know their training examples by heart, so a gate that learned there would follow the best memory.
    half = sampling.group_folds([str(g) for g in groups.tolist()], 2, stream(seed.seed, "gate"))
    learned, judged = half == 0, half == 1
    features = role.features(torch.arange(members.shape[1]))
    gate = fit_gate(members[:, rows[learned]], labels[learned], features[rows[learned]], weights, l2=config.gate_l2)
    scores, asked, truth = gate.scores(features), rows[judged], labels[judged]
    *_, with_gate = gated_stages(members[:, asked], weights, scores[:, asked])
    without = combine(members[:n_plain, asked], weights[:n_plain])
    temperature = fit_temperature(with_gate, truth) if config.temperature == "fit" else 1.0
    own = fit_temperature(without, truth) if config.temperature == "fit" else 1.0
    gain = _quality(apply_temperature(with_gate, temperature), truth, config.select_by == "accuracy")
    gain -= _quality(apply_temperature(without, own), truth, config.select_by == "accuracy")
    record = {"wins": shows_gain(gain, groups[judged]), "gain": float(gain.mean()), "temperature": temperature}
    tensors = {"weight": gate.weight, "mean": gate.mean, "scale": gate.scale, "scores": scores}
    return Artifact(tensors, record)


def _quality(log_probs: Float[Tensor, "items classes"], truth: Tensor, by_accuracy: bool) -> Float[Tensor, " items"]:
    """Of each item: whether its answer is true, or the log-probability of the true one."""
    if by_accuracy:
        return (log_probs.argmax(-1) == truth).double()
    return log_probs.double()[torch.arange(len(truth)), truth]
