"""Experts of a pool of weak models: what each answers by itself, and what they answer together."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from ensemw2s.config import canonical_hash
from ensemw2s.ensemble.words.answer_votes import staged_answers, voted_labels
from ensemw2s.evaluation import costs
from ensemw2s.forms.generation.labelling.labels import PseudoAnswers, right_texts, write_pseudo_answers, writing_cost
from ensemw2s.forms.generation.prepare import AnswerPrepared
from ensemw2s.forms.generation.scores import AnswerVoters, PoolVoters, Right
from ensemw2s.forms.prepared import SeedContext
from ensemw2s.results import Cost
from ensemw2s.storage.store import Artifact, artifact_key

VOTED_VERSION = 1


def pool_right(
    prepared: AnswerPrepared, seed: SeedContext, voters: PoolVoters, rows: Int[Tensor, " rows"], truths: Sequence[str]
) -> Right:
    """Which questions are answered truly; what is written is compared as text."""
    said = [each.record["labels"] for each in _alone(prepared, seed, voters, rows)]
    texts = [[label["answer"] for label in labels] for labels in said]
    member = torch.stack([right_texts(prepared, each, truths) for each in texts])
    winners, _ = staged_answers(said, voters.weights, prepared.config.ensemble.plain_vote)
    return Right(member, member.gather(0, winners))


def pool_labels(
    prepared: AnswerPrepared,
    seed: SeedContext,
    voters: PoolVoters,
    expert_ids: Sequence[str],
    rows: Int[Tensor, " rows"] | None = None,
) -> tuple[PseudoAnswers, Cost]:
    """What they answer together to these questions, or to the unlabelled ones, and what writing it cost."""
    config, rows = prepared.config, seed.draw.hard_unlabelled if rows is None else rows
    alone = _alone(prepared, seed, voters, rows)
    said = [each.record["labels"] for each in alone]
    deciding = {
        "voters": [list(one.keys) for one in voters.experts],
        "weights": voters.weights.tolist(),
        "vote": config.ensemble.plain_vote,
        "said": canonical_hash(said),
        "expert_ids": list(expert_ids),
    }

    def compute() -> Artifact:
        labels = voted_labels(said, voters.weights, config.ensemble.plain_vote)
        record = alone[0].record | {
            "labels": labels,
            "expert_ids": list(expert_ids),
            "expert_weights": voters.weights.tolist(),
        }
        return Artifact({"confidence": torch.tensor([label["confidence"] for label in labels])}, record)

    given = PseudoAnswers.of(seed.memo("labels", artifact_key(VOTED_VERSION, deciding), compute).record)
    each = zip(voters.experts, alone, strict=True)
    return given, costs.total(writing_cost(prepared, one, rows, own) for one, own in each)


def _alone(
    prepared: AnswerPrepared, seed: SeedContext, voters: PoolVoters, rows: Int[Tensor, " rows"]
) -> list[PseudoAnswers]:
    """Each expert's own answers; written once, whatever ensembles it votes in."""
    return [write_pseudo_answers(prepared, seed, one, one.keys, rows) for one in voters.experts]


def given_texts(
    prepared: AnswerPrepared, seed: SeedContext, voters: AnswerVoters | PoolVoters, rows: Int[Tensor, " rows"]
) -> tuple[tuple[str, ...], Cost]:
    """What these voters answer together to these questions, and what writing it cost."""
    if isinstance(voters, PoolVoters):
        names = [key for one in voters.experts for key in one.keys]
        said, cost = pool_labels(prepared, seed, voters, names, rows)
    else:
        said = write_pseudo_answers(prepared, seed, voters, voters.keys, rows)
        cost = writing_cost(prepared, voters, rows, said)
    return said.texts, cost
