"""What a user leaves with: the recommended student and the best ensemble, each a folder that stands alone."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ensemw2s.config import ModelConfig
from ensemw2s.core.losses import LINKS
from ensemw2s.ensemble.contexts import exportable
from ensemw2s.ensemble.label import Ensemble
from ensemw2s.export.answerer import export_language
from ensemw2s.export.card import ensemble_card, student_card
from ensemw2s.export.classifier import export_student
from ensemw2s.export.ensembles.ensemble_folder import write_ensemble
from ensemw2s.export.ensembles.ensemble_record import (
    AnswerEnsemble,
    ChoiceEnsemble,
    EnsembleRecord,
    SavedModel,
    untrusting,
)
from ensemw2s.export.pictures import export_picture_student
from ensemw2s.export.vector_student import export_vector_student
from ensemw2s.forms.classification.prepare import ClassPrepared
from ensemw2s.forms.classification.weak.experts import ClassVoters
from ensemw2s.forms.generation.prepare import AnswerPrepared
from ensemw2s.forms.generation.scores import AnswerVoters
from ensemw2s.forms.prepared import Prepared
from ensemw2s.forms.role import Role, WeakRole
from ensemw2s.models.pictures.multimodal import MultimodalTrunk
from ensemw2s.models.pictures.vision import VisionTrunk
from ensemw2s.pipeline.seeds.seed_work import SeedWork
from ensemw2s.results import Results
from ensemw2s.results.conditions import ensemble
from ensemw2s.tables import METHODS


def export_run(run_dir: Path, results: Results, work: SeedWork, voters: ClassVoters | AnswerVoters) -> None:
    """Write `student` and `ensemble`: the one that is recommended, else the seed's method that is best on easy-val.

    Args:
        work: the recommended student's seed.
        voters: this student as the one who answers (`refit.exported`).
    """
    _export_student(run_dir / "student", results, work.prepared, voters)
    # Of equals the first of the table, and a vote before a merge.
    kept = exportable(work.config.ensemble)
    found = {ensemble(m): work.ensembles[m] for m in METHODS if m in work.ensembles and m in kept}
    found |= {condition: made.ensemble for condition, made in work.merged.items()}
    accuracy = {c: results.row(c.key).parts["easy_val"]["accuracy"].interval.mean for c in found}
    rivals = [c for c in found if c.key == results.recommendation.rival]
    chosen = max(rivals or found, key=accuracy.__getitem__)
    made, merged = found[chosen], work.merged.get(chosen)
    record = _record(work.prepared, made, results, None if merged is None else merged.model)
    gate = None if made.gate is None else made.gate.gate
    states = [expert.state for expert in made.voting]
    card = ensemble_card(results, record, results.row(chosen.key))
    write_ensemble(run_dir / "ensemble", record, states, gate, card)


def _export_student(folder: Path, results: Results, prepared: Prepared, voters: ClassVoters | AnswerVoters) -> None:
    role = prepared.strong
    if isinstance(prepared, AnswerPrepared):
        assert isinstance(voters, AnswerVoters)
        example = prepared.split.examples[0].prompt
        export_language(
            folder,
            config=role.config,
            backbone=role.backbone,
            unembedding=voters.role.unembedding,
            state=voters.states[0],
            decoding=prepared.decoding,
            card=student_card(
                results, role.config.lora_experts == 1, classes=f"free text after the prompt, for example {example!r}"
            ),
            template=prepared.config.template,
        )
        return
    assert isinstance(voters, ClassVoters)
    assert voters.state is not None, "only what was trained is recommended"
    choices = results.task.choices
    described = partial(student_card, results, classes=", ".join(choices), probabilities=LINKS[voters.link].formula)
    given: dict[str, Any] = {
        "config": role.config,
        "state": voters.state,
        "choices": choices,
        "template": prepared.config.template,
        "link": voters.link,
    }
    if role.config.is_features:
        export_vector_student(folder, trunk=role.trunk, card=described(by_library=False), **given)
    elif isinstance(role.trunk, VisionTrunk | MultimodalTrunk):
        export_picture_student(folder, trunk=role.trunk, card=described(by_library=False), **given)
    else:
        export_student(folder, backbone=role.backbone, card=described, **given)


def _record(prepared: Prepared, made: Ensemble, results: Results, model: ModelConfig | None = None) -> EnsembleRecord:
    """What the folder says of an ensemble; of a merged one with the settings of its model."""
    weights = tuple(made.weights(made.selected).tolist())
    common = {
        "method": made.method,
        "seed": made.seed,
        "expert_ids": made.expert_ids,
        "expert_weights": weights,
        "prompt": prepared.config.template,
        "config_hash": results.config_hash,
        "vote": made.config.plain_vote if made.gate is None else "gated",
    }
    used = list(dict.fromkeys(expert.member for expert in made.voting))
    models = tuple(used.index(expert.member) for expert in made.voting)
    if isinstance(prepared, AnswerPrepared):
        saved = [_saved(prepared.pool[member], prepared.pool[member].trunk.fingerprint, model) for member in used]
        # Experts of a pool vote on whole answers, also where all are of one member.
        are_pooled = len(prepared.pool) > 1 and len(made.voting) > 1
        own = {"decoding": prepared.decoding, "vote": common["vote"] if are_pooled else prepared.token_vote}
        own |= _reading(made, lambda number: prepared.contexts[made.seed].prefixes[number].text)
        return AnswerEnsemble.model_validate(common | _named(saved, models if are_pooled else None) | own)
    assert isinstance(prepared, ClassPrepared)
    saved = [_saved(prepared.pool[member], prepared.pool[member].checkpoint, model) for member in used]
    depths = tuple(expert.view.depth for expert in made.voting)
    return ChoiceEnsemble.model_validate(
        common
        | _named(saved, models if len(saved) > 1 else None)
        | {
            "temperature": made.temperature,
            "choices": results.task.choices,
            "depths": depths if any(depths) else None,
        }
        | _reading(made, lambda number: prepared.contexts[made.seed].context(number).prefix)
    )


def _reading(made: Ensemble, context: Callable[[int], str]) -> dict[str, Any]:
    """Fields of a record that say what its experts read before a prompt, and whether they are trained."""
    read = [expert.view.context for expert in made.voting]
    return {
        "contexts": tuple(context(k) for k in read if k is not None) or None,
        # A merged model is of no method of the table; it is trained.
        "is_prompted": made.method in METHODS and not METHODS[made.method].learns,
    }


def _saved(role: WeakRole, fingerprint: str, merged: ModelConfig | None) -> SavedModel:
    config = untrusting(merged or role.config)
    if isinstance(role, Role) and config.is_features:  # another file of vectors may have other depths
        config = config.model_copy(update={"n_layers": role.trunk.n_layers})
    return SavedModel(config=config, fingerprint=fingerprint)


def _named(saved: Sequence[SavedModel], models: tuple[int, ...] | None) -> dict[str, Any]:
    """Fields of a record that name the experts' models."""
    first, *others = saved
    return {
        "weak": first.config,
        "weak_fingerprint": first.fingerprint,
        "others": tuple(others),
        "models": models,
    }
