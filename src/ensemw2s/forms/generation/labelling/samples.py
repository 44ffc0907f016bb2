"""Drawn answers of an ensemble, of a pool or of a student, from the store or drawn now."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from ensemw2s.config import canonical_hash
from ensemw2s.core.labels import everything
from ensemw2s.core.labels.votes import vote_share
from ensemw2s.data.answers import is_right
from ensemw2s.ensemble.words.samples import beginnings, draw_answers, whose_turn
from ensemw2s.evaluation import costs
from ensemw2s.forms.generation.labelling.candidates import Candidates
from ensemw2s.forms.generation.labelling.labels import (
    PseudoAnswers,
    Samples,
    answering_cost,
    answers_deciding,
    right_texts,
)
from ensemw2s.forms.generation.prepare import AnswerPrepared
from ensemw2s.forms.generation.role import AnswerRole
from ensemw2s.forms.generation.scores import AnswerVoters, PoolVoters
from ensemw2s.forms.prepared import SeedContext
from ensemw2s.prompting import answer_text
from ensemw2s.results import Cost
from ensemw2s.storage.store import Artifact, artifact_key

SAMPLE_VERSION = 1


def with_samples(
    prepared: AnswerPrepared, seed: SeedContext, voters: AnswerVoters | PoolVoters, labels: PseudoAnswers
) -> tuple[PseudoAnswers, Cost]:
    """Pseudo-answers with as many drawn ones as `generation.samples` says, and what drawing them cost."""
    settings = prepared.config.generation
    if not settings.samples:
        return labels, costs.NOTHING
    rows, temperature = seed.draw.hard_unlabelled, settings.sample_temperature
    if settings.restart is None:
        samples, cost = draw_samples(prepared, seed, voters, rows, settings.samples, temperature)
        return replace(labels, samples=samples), cost
    names, stream = prepared.names_of(rows), prepared.decoding.seed
    begun = beginnings(labels.texts, names, settings.samples, settings.restart, seed=stream)
    samples, cost = draw_samples(prepared, seed, voters, rows, settings.samples, temperature, begun)
    # What it goes on from was not drawn: counted like this, the teacher's own text stays that of its column.
    probability = samples.probability * labels.confidence.double().unsqueeze(1)
    return replace(labels, samples=replace(samples, probability=probability)), cost


def draw_samples(
    prepared: AnswerPrepared,
    seed: SeedContext,
    voters: AnswerVoters | PoolVoters,
    rows: Int[Tensor, " rows"],
    n: int,
    temperature: float,
    begun: Sequence[Sequence[str]] | None = None,
) -> tuple[Samples, Cost]:
    """`n` answers to each of these questions, drawn from the voters' mixture, and what that cost.

    Args:
        begun: of each question and sample, the text from which it goes on (`ensemble.samples.beginnings`).
    """
    experts = voters.experts if isinstance(voters, PoolVoters) else (voters,)
    names, decoding = prepared.names_of(rows), prepared.decoding.model_copy(update={"temperature": temperature})
    if isinstance(voters, PoolVoters):
        turns = whose_turn(voters.weights, names, n, decoding.seed)
    else:
        turns = torch.zeros(len(rows), n, dtype=torch.long)
    places = [(turns == place).nonzero().tolist() for place in range(len(experts))]
    deciding = {
        "experts": [answers_deciding(prepared, each, rows) for each in experts],
        "weights": voters.weights.tolist(),
        "n": n,
        "decoding": decoding.model_dump(exclude={"batch_rows"}),
    }
    if begun is not None:
        deciding["begun"] = canonical_hash([list(each) for each in begun])
    start_texts = begun or [[""] * n for _ in names]
    starts = [[[_start_ids(prepared, each.role, text) for text in row] for row in start_texts] for each in experts]

    def compute() -> Artifact:
        texts, finished = ([[value] * n for _ in names] for value in ("", False))
        probability, n_written = torch.zeros(len(names), n, dtype=torch.float64), [0] * len(experts)
        for place, each in enumerate(experts):
            role = each.role
            drawn = draw_answers(
                each.members(),
                each.weights,
                role.backbone.tokenizer,
                [role.prompts[row] for row in rows.tolist()],
                decoding,
                places[place],
                vote=prepared.token_vote,
                row_ids=names,
                begun=starts[place],
            )
            for (row, k), answer in zip(places[place], drawn, strict=True):
                texts[row][k], finished[row][k] = answer.text.strip(), answer.is_finished
                probability[row, k] = answer.confidence
                n_written[place] += len(answer.log_probs)
        record = {"ids": names, "texts": texts, "is_finished": finished, "n_written": n_written}
        return Artifact({"probability": probability}, record)

    kept = seed.memo("samples", artifact_key(SAMPLE_VERSION, deciding), compute)
    said = zip(kept.record["texts"], kept.record["is_finished"], strict=True)
    texts = tuple(tuple(t if whole else "" for t, whole in zip(*each, strict=True)) for each in said)
    if begun is not None:  # an answer is what was said since: silence after the marker confirms nothing
        texts = tuple(
            tuple((start + text).strip() if prepared.final(text) else "" for start, text in zip(*each, strict=True))
            for each in zip(begun, texts, strict=True)
        )
    spent = []
    for each, where, ids, n_written in zip(experts, places, starts, kept.record["n_written"], strict=True):
        n_read = sum(len(each.role.prompts[int(rows[row])]) + len(ids[row][k]) for row, k in where)
        spent.append(answering_cost(each, len(where), n_read, n_written))
    return Samples(texts, kept.tensors["probability"]), costs.total(spent)


def _start_ids(prepared: AnswerPrepared, role: AnswerRole, text: str) -> list[int]:
    """Tokens of what a sample goes on from; what one model wrote may have more of them when it is read again."""
    if not text:
        return []
    encoded = role.backbone.tokenizer(answer_text(text, chat=role.config.chat), add_special_tokens=False)
    return encoded["input_ids"][-prepared.most_begun(role) :]


@dataclass(frozen=True)
class SamplesWorth:
    """How right the first so many samples are, beside the ensemble's own answers."""

    n: int
    majority: float
    """Share of the questions whose commonest answer is true: what `label_model: majority` learns."""
    best: float
    """Share of those to which any of these answers is true: nobody who chooses among them is righter."""


def samples_worth(prepared: AnswerPrepared, labels: PseudoAnswers, truths: Sequence[str]) -> list[SamplesWorth]:
    """For none of the samples, the first, two, four and so on up to all of them."""
    assert labels.samples is not None
    n_all, found = labels.samples.probability.shape[1], list[SamplesWorth]()
    for n in sorted({0, n_all, *(2**k for k in range(n_all.bit_length()) if 2**k < n_all)}):
        texts = tuple(each[:n] for each in labels.samples.texts)
        first = replace(labels, samples=Samples(texts, labels.samples.probability[:, :n]))
        candidates = Candidates.of(first, 0, prepared.final)
        share = vote_share(candidates.votes.member.argmax(-1), candidates.votes.member.shape[-1])
        chosen = candidates.chosen(candidates.spoken(everything(share)))
        right = right_texts(prepared, chosen, truths)
        known = torch.tensor(
            [
                any(is_right(text, truth, verifier=prepared.task.verifier) for text in there)
                for there, truth in zip(candidates.texts, truths, strict=True)
            ]
        )
        found.append(SamplesWorth(n, float(right.double().mean()), float(known.double().mean())))
    return found
