"""The second stage in words: what an ensemble (or the strong model itself) answers to the unlabelled questions."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ensemw2s.config import canonical_hash
from ensemw2s.data.answers import is_right
from ensemw2s.ensemble.choices import choice_labels
from ensemw2s.ensemble.members import SharedTrunk
from ensemw2s.ensemble.write import write_answers
from ensemw2s.pipeline.generation.cost import decoding_cost, total
from ensemw2s.pipeline.generation.work import AnswerWork, PseudoAnswers, Voters
from ensemw2s.storage.store import Artifact, artifact_key

LABEL_VERSION = 2


def label(work: AnswerWork) -> Iterator[None]:
    """Let every ensemble answer the unlabelled questions; yields after each."""
    for method, ensemble in work.outcome.ensembles.items():
        pseudo = pseudo_answers(
            work, work.outcome.voters[method], [f"{method}/{e.seed:016x}" for e in ensemble.experts]
        )
        work.outcome.pseudo[method] = pseudo
        work.outcome.cost[method] = total(
            [work.outcome.cost[method], decoding_cost(work.prepared.weak, ensemble.selected, pseudo.record)]
        )
        yield


def pseudo_answers(work: AnswerWork, voters: Voters, expert_ids: list[str]) -> PseudoAnswers:
    """What these voters answer to the unlabelled questions, from the store or written now."""
    config, hard = work.prepared.config, work.draw.hard_unlabelled
    decoding = work.prepared.decoding
    names = [work.prepared.names[i] for i in hard.tolist()]
    deciding = _deciding(work, voters, hard, names) | {"expert_ids": expert_ids[: len(voters.keys)]}
    key = artifact_key(LABEL_VERSION, deciding)

    def compute() -> Artifact:
        side, vote = voters.side, config.ensemble.vote
        if config.generation.answer_by == "choices":
            found = choice_labels(work.choices(voters, hard), work.prepared.options(hard))
        else:
            members = SharedTrunk(side.backbone, side.load(voters.states))
            prompts, tokenizer = [side.prompts[i] for i in hard.tolist()], side.backbone.tokenizer
            found = write_answers(members, voters.weights, tokenizer, prompts, decoding, vote=vote, row_ids=names)
        record = {
            "ids": names,
            "labels": found,
            "expert_ids": expert_ids[: len(voters.keys)],
            "expert_weights": voters.weights.tolist(),
            "config_hash": canonical_hash(config),
        }
        return Artifact({"confidence": torch.tensor([label["confidence"] for label in found])}, record)

    record = work.memo("labels", key, compute).record
    labels = record["labels"]
    return PseudoAnswers(
        tuple(label["answer"] for label in labels),
        torch.tensor([label["confidence"] for label in labels]),
        torch.tensor([label["agreement"] for label in labels]),
        record,
    )


def answers_to(work: AnswerWork, voters: Voters, rows: Int[Tensor, " rows"]) -> list[str]:
    """Only the texts of these voters' common answers; without a trained voter, those of the pretrained model."""
    prepared, side = work.prepared, voters.side
    names = [prepared.names[i] for i in rows.tolist()]
    key = artifact_key(LABEL_VERSION, _deciding(work, voters, rows, names))

    def compute() -> Artifact:
        models = side.load(voters.states) if voters.keys else [side.untrained()]
        vote, decoding = prepared.config.ensemble.vote, prepared.decoding
        texts = [d.text for d in side.write(models, voters.weights, rows, decoding, names, vote)]
        return Artifact({}, {"texts": texts})

    return work.store.memo("texts", key, compute).record["texts"]


def right_answers(
    work: AnswerWork, voters: Voters, rows: Int[Tensor, " rows"], truths: Sequence[str], *, by_text: bool
) -> Bool[Tensor, " rows"]:
    """Which questions all these voters together answer truly.

    Args:
        by_text: the answers are written out and compared as the task compares them; else one pass with the true
            answer says whether each of its tokens would be written, or its option taken.
    """
    if not by_text:
        return work.right(voters, rows, truths).together[-1]
    verifier, texts = work.prepared.task.verifier, answers_to(work, voters, rows)
    return torch.tensor([is_right(a, t, verifier=verifier) for a, t in zip(texts, truths, strict=True)])


def _deciding(work: AnswerWork, voters: Voters, rows: Int[Tensor, " rows"], names: list[str]) -> dict[str, Any]:
    """Everything that an answer depends on."""
    config = work.prepared.config
    return {
        "voters": list(voters.keys),
        "side": voters.side.fingerprint,
        "weights": voters.weights.tolist(),
        "vote": config.ensemble.vote,
        "prompts": canonical_hash([voters.side.prompts[i] for i in rows.tolist()]),
        "ids": names,
        "decoding": work.prepared.decoding.model_dump(exclude={"batch_rows"}),
        "answer_by": config.generation.answer_by,
        "options": canonical_hash([list(o) for o in work.prepared.options(rows)]),
    }
