"""The model card of an exported student."""

from ensemw2s.results import Results
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

{details}

- Task: {task}. {source}.
- Base: {strong}. Supervisor: {weak}.
- Answers: {choices}.
- {metric} over the run's seeds: ID {id_test}, OOD {ood_test}. This folder is the seed that was best on easy-val.
{refit}{reading}- Its confidence was not calibrated on hard data: see the reliability diagram of the run's report.

The base model's and the data's own licences apply.
"""


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
    refit = ""
    if chosen.refit_on is not None:
        refit = (
            f"- After these figures were taken, this student was trained once more, on all {chosen.refit_on:,} "
            "labelled examples of the run, those of its ID test among them. The figures are of the student before "
            "that.\n"
        )
    return CARD.format(
        refit=refit,
        label=markdown(row.label),
        version=results.versions["ensemw2s"],
        name=markdown(results.name),
        config_hash=results.config_hash[:12],
        seed=chosen.seed,
        headline=markdown(chosen.headline),
        details=markdown(" ".join(chosen.details)),
        task=markdown(results.task.name),
        source=markdown(results.task.source),
        strong=markdown(results.strong),
        weak=markdown(results.weak),
        choices=markdown(classes),
        reading="" if probabilities is None else f"- The model gives logits; its probabilities are {probabilities}.\n",
        metric=results.metric.capitalize(),
        **shown,
    )
