"""What a user leaves with: the recommended student and the ensemble, each a folder that stands alone."""

from collections.abc import Sequence
from pathlib import Path

from ensemw2s.core.losses import LINKS
from ensemw2s.errors import RunError
from ensemw2s.export.classifier import export_student
from ensemw2s.export.ensemble_folder import ChoiceEnsemble, untrusting, write_ensemble
from ensemw2s.pipeline.prepare import Prepared
from ensemw2s.pipeline.stages import Seed
from ensemw2s.results import Results
from ensemw2s.storage.store import Store
from ensemw2s.tables import METHODS
from ensemw2s.text import markdown

CARD = """\
---
license: other
library_name: transformers
tags: [ensemw2s, weak-to-strong]
---
# {label}

Trained by EnsemW2S {version} in the run "{name}" (configuration {config_hash}), seed {seed}.

{headline}

- Task: {task}. {source}.
- Base: {strong}. Supervisor: {weak}.
- Answers: {choices}.
- {metric} over the run's seeds: ID {id_test}, OOD {ood_test}. This folder is the seed that was best on easy-val.
{reading}- Its confidence was not calibrated on hard data: see the reliability diagram of the run's report.

The base model's and the data's own licences apply.
"""


def export_recommended(folder: Path, prepared: Prepared, results: Results, seeds: Sequence[Seed], store: Store) -> None:
    """Write the recommended student of its best seed, with a model card.

    Raises:
        RunError: its artifact is gone from the store.
    """
    chosen = results.recommendation
    seed = next(s for s in seeds if s.seed == chosen.seed)
    artifact = store.load("students", seed.outcome.student_keys[chosen.row])
    if artifact is None:
        raise RunError(
            f"{store.root}: the student {chosen.row!r} vanished while the run went on; run the same command again"
        )
    link = seed.outcome.student_links[chosen.row]
    card = model_card(results, classes=", ".join(results.task.choices), probabilities=LINKS[link].formula)
    state = {n.removeprefix("state/"): t for n, t in artifact.tensors.items() if n.startswith("state/")}
    export_student(
        folder,
        config=prepared.strong.config,
        backbone=prepared.strong.backbone,
        state=state,
        choices=results.task.choices,
        card=card,
        template=prepared.config.template,
        link=link,
    )


def model_card(results: Results, *, classes: str, probabilities: str | None = None) -> str:
    """README.md of the recommended student's folder; `probabilities`: how its logits are read."""
    chosen = results.recommendation
    row = results.row(chosen.row)
    shown = {
        part: "{mean:.3f} [{low:.3f}, {high:.3f}]".format(**row.parts[part]["accuracy"].interval.model_dump())
        if part in row.parts
        else "unknown (no test set)"
        for part in ("id_test", "ood_test")
    }
    return CARD.format(
        label=markdown(row.label),
        version=results.versions["ensemw2s"],
        name=markdown(results.name),
        config_hash=results.config_hash[:12],
        seed=chosen.seed,
        headline=markdown(chosen.headline),
        task=markdown(results.task.name),
        source=markdown(results.task.source),
        strong=markdown(results.strong),
        weak=markdown(results.weak),
        choices=markdown(classes),
        reading="" if probabilities is None else f"- The model gives logits; its probabilities are {probabilities}.\n",
        metric=results.metric.capitalize(),
        **shown,
    )


def export_ensemble(folder: Path, prepared: Prepared, results: Results, seeds: Sequence[Seed]) -> None:
    """Write the voting experts of the method that is best on easy-val: their tensors, weights and temperature."""
    methods = [m for m in METHODS if m in seeds[0].outcome.ensembles]
    accuracy = {m: results.row(m).parts["easy_val"]["accuracy"].interval.mean for m in methods}
    best = max(methods, key=accuracy.__getitem__)
    seed = next(s for s in seeds if s.seed == results.recommendation.seed)
    ensemble = seed.outcome.ensembles[best]
    voters = ensemble.experts[: ensemble.selected]
    depths = tuple(e.view.depth for e in voters)
    record = ChoiceEnsemble(
        method=best,
        seed=seed.seed,
        expert_ids=tuple(f"{best}/{e.seed:016x}" for e in voters),
        vote=ensemble.config.vote,
        expert_weights=tuple(ensemble.weights(ensemble.selected).tolist()),
        temperature=ensemble.temperature,
        choices=results.task.choices,
        prompt=prepared.config.template,
        weak=untrusting(prepared.weak.config),
        weak_fingerprint=prepared.weak.backbone.fingerprint,
        config_hash=results.config_hash,
        depths=depths if any(depths) else None,
    )
    write_ensemble(folder, record, [e.state for e in voters])
