"""What a user of a generation run leaves with: the recommended student, and the ensemble that labels more questions."""

from collections.abc import Sequence
from pathlib import Path

from ensemw2s.export.answerer import export_language
from ensemw2s.export.ensemble_folder import AnswerEnsemble, untrusting, write_ensemble
from ensemw2s.forms.generation.prepare import AnswerPrepared
from ensemw2s.pipeline.deliver import model_card
from ensemw2s.pipeline.generation.stages import AnswerSeed
from ensemw2s.results import Results
from ensemw2s.tables import METHODS


def export_answerer(folder: Path, prepared: AnswerPrepared, results: Results, seeds: Sequence[AnswerSeed]) -> None:
    """Write the recommended student of its best seed as a plain causal language model, with a model card."""
    chosen = results.recommendation
    seed = next(s for s in seeds if s.seed == chosen.seed)
    voters = seed.outcome.voters[chosen.row]
    side = voters.side
    card = model_card(results, classes=f"free text after the prompt, for example {prepared.split.examples[0].prompt!r}")
    export_language(
        folder,
        config=side.config,
        backbone=side.backbone,
        unembedding=side.unembedding,
        state=voters.states[0],
        decoding=prepared.decoding,
        card=card,
        template=prepared.config.template,
    )


def export_answer_ensemble(
    folder: Path, prepared: AnswerPrepared, results: Results, seeds: Sequence[AnswerSeed]
) -> None:
    """Write the voting experts of the method that is best on easy-val, for `ensemw2s label`."""
    methods = [m for m in METHODS if m in seeds[0].outcome.ensembles]
    exact = {m: results.row(m).parts["easy_val"]["accuracy"].interval.mean for m in methods}
    best = max(methods, key=exact.__getitem__)
    seed = next(s for s in seeds if s.seed == results.recommendation.seed)
    ensemble, voters = seed.outcome.ensembles[best], seed.outcome.voters[best]
    vote = prepared.config.ensemble.vote
    assert vote != "hard"  # refused before any work
    record = AnswerEnsemble(
        method=best,
        seed=seed.seed,
        vote=vote,
        expert_weights=tuple(voters.weights.tolist()),
        expert_ids=tuple(f"{best}/{e.seed:016x}" for e in ensemble.experts[: ensemble.selected]),
        prompt=prepared.config.template,
        weak=untrusting(prepared.weak.config),
        weak_fingerprint=prepared.weak.backbone.fingerprint,
        decoding=prepared.decoding,
        config_hash=results.config_hash,
    )
    write_ensemble(folder, record, list(voters.states))
