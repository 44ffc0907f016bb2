"""The experts of an ensemble that writes answers as one model."""

from dataclasses import replace

from torch import Generator, Tensor

from ensemw2s.config import canonical_hash
from ensemw2s.ensemble.label import Ensemble
from ensemw2s.forms.generation.prepare import AnswerPrepared
from ensemw2s.forms.generation.scores import AnswerVoters, Scorer
from ensemw2s.forms.merging import SCALES, Merging, best_scale
from ensemw2s.forms.prepared import SeedContext
from ensemw2s.models.adapting.merging import start_of
from ensemw2s.records import AnswerTokens
from ensemw2s.storage.store import Artifact


def merged_answerer(
    prepared: AnswerPrepared, seed: SeedContext, easy: AnswerTokens, made: Ensemble, name: str
) -> tuple[Merging, str, AnswerVoters]:
    """A merge of the voting experts, its key in the store, and the model, whose scale is chosen on easy-val.

    Args:
        easy: the easy pool's true answers.
    """
    role, val, scorer = prepared.pool[0], seed.draw.easy_val, Scorer(prepared, seed.store)
    merging = Merging(made, name, role.config)
    truths = [prepared.split.easy_answers[row] for row in val.tolist()]
    asked = canonical_hash([[easy.ids[row] for row in val.tolist()], truths])
    key = merging.key(answers=asked, role=role.fingerprint, answer_by=prepared.config.generation.answer_by)

    def voters(state: dict[str, Tensor], scale: float) -> AnswerVoters:
        return AnswerVoters.one(replace(role, config=merging.merged_model), f"{key}/{scale}", state)

    def figure(state: dict[str, Tensor], scale: float) -> float:
        if merging.by_accuracy:
            return float(scorer.right(voters(state, scale), val, truths).together[-1].double().mean())
        return float(scorer.scores(voters(state, scale), easy, val).gold[-1].double().mean())

    def compute() -> Artifact:
        # Noise that sets experts apart before their training is a part of what each changed.
        untrained = replace(role, init_noise=0.0).builder(prepared.config.training_of_experts)(Generator())
        start = start_of(untrained)
        change = merging.change(start)
        scale = best_scale([figure(change.state(start, each), each) for each in SCALES])
        state = {f"state/{name}": tensor for name, tensor in change.state(start, scale).items()}
        return Artifact(state, {"scale": scale, "kept": change.kept})

    artifact = seed.memo("merged", key, compute)
    return merging, key, voters(artifact.state, artifact.record["scale"])
