"""What a run will cost, before it starts: counted from its data and settings, timed on a few examples."""

import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from ensemw2s.config import ExperimentConfig, TrainConfig, canonical_hash
from ensemw2s.ensemble.contexts import WRITTEN
from ensemw2s.ensemble.methods import n_contexts
from ensemw2s.forms.generation.prepare import AnswerPrepared
from ensemw2s.forms.prepared import Prepared, SeedContext
from ensemw2s.forms.role import Role
from ensemw2s.models.adapting.upper import own_layers
from ensemw2s.pipeline.prepare import prepare
from ensemw2s.results import Plan, PlanLine
from ensemw2s.services.planning.calibrate import Rates, measured_rates, peak_memory
from ensemw2s.services.planning.classes import ClassCounts
from ensemw2s.services.planning.counts import Amounts, Counts
from ensemw2s.services.planning.units import Unit, trainings_of
from ensemw2s.services.planning.words import AnswerCounts
from ensemw2s.storage.store import Store

OPTIMISER_BYTES = 16
"""Per trained weight: itself, its gradient and AdamW's two moments, in float32."""


def make_plan(config: ExperimentConfig, *, calibrated: bool = True) -> Plan:
    """Count the run's work and, `calibrated`, time a little of each kind on this machine (about ten seconds).

    Models and data are loaded and checked as for a run; nothing is trained to the end or kept. Where the weak model
    shall rate the difficulty, no one has been rated yet: lengths are those of a random division, the rating itself
    is not counted.

    Raises:
        ConfigError, DataError, ModelError: what a run of this configuration would raise.
    """
    begun = time.perf_counter()
    cache = "memory" if config.is_generation else "off"  # neither writes
    unread = config.model_copy(update={"cache": config.cache.model_copy(update={"trunk_cache": cache})})
    with TemporaryDirectory() as folder:
        store = Store(Path(folder))
        prepared = prepare(unread, store, lambda model, n: None, is_plan=True)
        counts = AnswerCounts(prepared) if isinstance(prepared, AnswerPrepared) else ClassCounts(prepared)
        loaded, before = time.perf_counter() - begun, peak_memory()
        units, split, draw = counts.units(), prepared.split, prepared.split.draw(config.seeds[0])
        kinds, seed = dict.fromkeys(unit.kind for unit in units), SeedContext(config.seeds[0], draw, store)
        rates = measured_rates(prepared, seed, kinds) if calibrated else None
    lines = tuple(_line(unit, rates) for unit in units)
    training = max(
        _training_bytes(counts.role(name), training, counts.amounts[name]) for name, training in trainings_of(config)
    )
    if prepared.strong.trunk.device.type == "cpu":
        # The measurements train and score at the run's own sizes; what a run does beyond them is to save a student.
        exported = 4 * sum(p.numel() for p in prepared.strong.trunk.weights())
        peak = (peak_memory() if calibrated else before + training) + exported
    else:
        peak = _weights(prepared) + training
    rows = {"easy_train": len(draw.easy_train), "easy_val": len(draw.easy_val)}
    rows |= {"hard_unlabelled": len(draw.hard_unlabelled)} | {part: len(split.pools[part]) for part in split.tests}
    is_rated = config.difficulty.source != "column"
    return Plan(
        name=config.name,
        config_hash=canonical_hash(config),
        n_seeds=len(config.seeds),
        rows_per_seed=rows,
        pools={name: len(pool) for name, pool in split.pools.items()},
        expert_evaluations=_evaluations(units, counts),
        lines=lines,
        tokens=sum(line.count * line.tokens for line in lines),
        flops=sum(line.count * line.flops for line in lines),
        seconds=None if rates is None else loaded + sum(line.seconds or 0.0 for line in lines),
        loading_seconds=loaded,
        device=str(prepared.strong.trunk.device),
        peak_memory=peak,
        disk=sum(unit.count * unit.kept for unit in units),
        notes=_notes(config, is_rated=is_rated),
    )


def _notes(config: ExperimentConfig, *, is_rated: bool) -> tuple[str, ...]:
    """What the figures leave out, or take at its most."""
    notes = ["the weak model's rating of difficulty is not counted"] if is_rated else []
    if any(training.patience is not None for _, training in trainings_of(config)):
        notes.append("trainings with patience are counted with all their epochs: most end before, and cost less")
    if n_contexts(config.ensemble) and config.ensemble.context.kind in WRITTEN:
        notes.append("contexts that are written are counted with as many tokens as they may have")
    if len(config.pool) > 1:
        notes.append("which member of the pool boosting takes is not known: it is counted as the costliest")
    if any(model.is_tfidf for model in config.pool):
        notes.append("TF-IDF members take moments, and are not counted")
    return tuple(notes)


def _line(unit: Unit, rates: Rates | None) -> PlanLine:
    seconds = None if rates is None else unit.count * unit.amount * rates[unit.kind]
    return PlanLine(
        stage=unit.stage, what=unit.what, role=unit.role, count=unit.count, tokens=unit.tokens, flops=unit.flops,
        seconds=seconds, disk=unit.kept,
    )  # fmt: skip


def _evaluations(units: Sequence[Unit], counts: Counts) -> int:
    """Evaluations of an example by an expert."""
    n_experts = sum(u.count for u in units if u.verb in ("train", "fit") and u.role != "strong" and "expert" in u.what)
    return (n_experts + counts.n_asked) * counts.n_evaluated


def _training_bytes(role: Role, training: TrainConfig, amounts: Amounts) -> int:
    """What a training holds beside the loaded weights: trained weights with their optimiser, and activations.

    Activations: per token of a micro-batch and own layer about ten vectors of the hidden and four of the MLP's size in
    float32 (one vector with gradient checkpointing).
    """
    if role.config.adapter == "head":
        return OPTIMISER_BYTES * amounts.owned
    backbone = role.backbone
    layers = own_layers(role.config, backbone.n_layers)
    micro = training.micro_batch_size if isinstance(training.micro_batch_size, int) else training.batch_size
    hidden = backbone.hidden_size
    mlp = getattr(backbone.model.config, "intermediate_size", 4 * hidden)
    per_token = 4 * (hidden if training.gradient_checkpointing else 10 * hidden + 4 * mlp)
    return OPTIMISER_BYTES * amounts.owned + round(micro * amounts.read * layers * per_token)


def _weights(prepared: Prepared) -> int:
    """Bytes of both models' weights, those that they share counted once."""
    found = {
        p.data_ptr(): p.numel() * p.element_size() for role in prepared.roles.values() for p in role.trunk.weights()
    }
    return sum(found.values())
