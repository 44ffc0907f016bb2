"""What an ensemble, or the strong model itself, answers to the unlabelled questions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ensemw2s.config import canonical_hash
from ensemw2s.data.answers import is_right
from ensemw2s.ensemble.words.choices import choice_labels
from ensemw2s.ensemble.words.decode import decode
from ensemw2s.ensemble.words.mixtures import TOP, Mixtures
from ensemw2s.ensemble.words.write import described
from ensemw2s.forms.generation.prepare import AnswerPrepared
from ensemw2s.forms.generation.scores import AnswerVoters, Scorer
from ensemw2s.forms.prepared import SeedContext
from ensemw2s.results import Cost
from ensemw2s.storage.store import Artifact, artifact_key

LABEL_VERSION = 3


@dataclass(frozen=True)
class Samples:
    """Several drawn answers to each question."""

    texts: tuple[tuple[str, ...], ...]
    """By question; empty where the answer was cut by the limit of length, so that it has no final answer."""
    probability: Float[Tensor, "rows samples"]
    """Of the answer under the mixture from which it was drawn."""


@dataclass(frozen=True)
class PseudoAnswers:
    """Answers to the unlabelled questions."""

    texts: tuple[str, ...]
    confidence: Float[Tensor, " rows"]
    agreement: Float[Tensor, " rows"]
    """Share of the voting experts whose own answer it is."""
    record: dict[str, Any]
    """As it is kept: members' answers, token log-probabilities, expert ids and weights, configuration."""
    samples: Samples | None = None
    """Drawn answers, which vote beside the members'."""
    mixtures: Mixtures | None = None
    """Of the next token, at each step of the answers; None where no student learns them."""

    @classmethod
    def of(cls, record: dict[str, Any], mixtures: Mixtures | None = None) -> "PseudoAnswers":
        """As they were kept."""
        labels: list[dict[str, Any]] = record["labels"]
        confidence, agreement = (torch.tensor([x[name] for x in labels]) for name in ("confidence", "agreement"))
        return cls(tuple(label["answer"] for label in labels), confidence, agreement, record, None, mixtures)


def write_pseudo_answers(
    prepared: AnswerPrepared,
    seed: SeedContext,
    voters: AnswerVoters,
    expert_ids: Sequence[str],
    rows: Int[Tensor, " rows"] | None = None,
    *,
    is_teacher: bool = False,
) -> PseudoAnswers:
    """What these voters answer to these questions, or to the unlabelled ones; from the store or written now.

    Args:
        is_teacher: whether recipes learn of these answers; where one learns soft labels, their mixtures are kept.
    """
    config, ids = prepared.config, list(expert_ids)
    asked = seed.draw.hard_unlabelled if rows is None else rows
    names = prepared.names_of(asked)
    n_likeliest = TOP if is_teacher and prepared.learns_mixtures else 0
    kept = {"mixture": n_likeliest} if n_likeliest else {}
    key = artifact_key(LABEL_VERSION, answers_deciding(prepared, voters, asked) | {"expert_ids": ids} | kept)

    def compute() -> Artifact:
        role, vote, mixtures = voters.role, prepared.token_vote, None
        if prepared.by_choice:
            choices = Scorer(prepared, seed.store).choices(voters, asked)
            labels = choice_labels(choices, prepared.options(asked))
        else:
            members = voters.members()
            prompts, tokenizer = [role.prompts[i] for i in asked.tolist()], role.backbone.tokenizer
            decoded = decode(
                members,
                voters.weights,
                tokenizer,
                prompts,
                prepared.decoding,
                vote=vote,
                row_ids=names,
                n_likeliest=n_likeliest,
            )
            labels = described(decoded, members, tokenizer, prompts, prepared.decoding, vote=vote)
            mixtures = Mixtures.of(decoded) if n_likeliest else None
        record = {
            "ids": names,
            "labels": labels,
            "expert_ids": ids,
            "expert_weights": voters.weights.tolist(),
            "config_hash": canonical_hash(config),
        }
        tensors = {"confidence": torch.tensor([label["confidence"] for label in labels])}
        if mixtures is not None:
            tensors, record = tensors | mixtures.tensors, record | {"mixture": mixtures.record}
        return Artifact(tensors, record)

    artifact = seed.memo("labels", key, compute)
    return PseudoAnswers.of(artifact.record, Mixtures.read(artifact.tensors))


def writing_cost(
    prepared: AnswerPrepared, voters: AnswerVoters, rows: Int[Tensor, " rows"], labels: PseudoAnswers
) -> Cost:
    """Reading these prompts and writing the answers: every voter once, the trunk once for them all.

    Where options are scored, their tokens are counted as written.
    """
    if prepared.by_choice:
        options = prepared.options(rows)
        answers = voters.role.option_answers(rows, options, prepared.names_of(rows))
        n_written = len(answers.targets)
        n_read = sum(map(len, answers.read)) - n_written
    else:
        n_written = sum(len(label["token_log_probs"]) for label in labels.record["labels"])
        n_read = sum(len(voters.role.prompts[row]) for row in rows.tolist())
    return answering_cost(voters, len(rows), n_read, n_written)


def answering_cost(voters: AnswerVoters, n_questions: int, n_read: int, n_written: int) -> Cost:
    """Answering questions whose prompts have `n_read` tokens with answers of `n_written` tokens."""
    role, n_voters = voters.role, len(voters.weights)
    updates = sum(t.numel() for state in voters.states for t in state.values()) if role.config.adapter == "lora" else 0
    per_token = voters.n_trunks * role.trunk_flops + n_voters * role.own_flops + 2.0 * updates
    flops = per_token * (n_read + n_written) + (role.trunk_flops + role.own_flops) * voters.n_before
    flops += 2.0 * n_voters * role.head_weights * n_written
    return Cost(training_tokens=0, expert_evaluations=n_voters * n_questions, flops=flops)


def written_texts(
    prepared: AnswerPrepared, seed: SeedContext, voters: AnswerVoters, rows: Int[Tensor, " rows"]
) -> tuple[list[str], int]:
    """The texts of these voters' common answers, and how many tokens were written."""
    key = artifact_key(LABEL_VERSION, answers_deciding(prepared, voters, rows))

    def compute() -> Artifact:
        role = voters.role
        decoded = decode(
            voters.members(),
            voters.weights,
            role.backbone.tokenizer,
            [role.prompts[row] for row in rows.tolist()],
            prepared.decoding,
            vote=prepared.token_vote,
            row_ids=prepared.names_of(rows),
        )
        return Artifact({}, {"texts": [d.text for d in decoded], "n_tokens": sum(len(d.log_probs) for d in decoded)})

    record = seed.store.memo("texts", key, compute).record
    return record["texts"], record["n_tokens"]


def right_texts(prepared: AnswerPrepared, answers: Sequence[str], truths: Sequence[str]) -> Bool[Tensor, " rows"]:
    """Which of these answers are true, compared as the task compares them."""
    verifier = prepared.task.verifier
    right = [is_right(a, t, verifier=verifier) for a, t in zip(answers, truths, strict=True)]
    return torch.tensor(right, dtype=torch.bool)


def answers_deciding(prepared: AnswerPrepared, voters: AnswerVoters, rows: Int[Tensor, " rows"]) -> dict[str, Any]:
    """Everything that an answer depends on."""
    config = prepared.config
    return {
        **voters.deciding,
        "vote": prepared.token_vote,
        "prompts": canonical_hash([voters.role.prompts[i] for i in rows.tolist()]),
        "ids": prepared.names_of(rows),
        "decoding": prepared.decoding.model_dump(exclude={"batch_rows"}),
        "answer_by": config.generation.answer_by,
        "options": canonical_hash([list(options) for options in prepared.options(rows)]),
    }
