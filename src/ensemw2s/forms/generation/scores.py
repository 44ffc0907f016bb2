"""Who answers in generation, and their scores of given answers, from the store."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ensemw2s.config import canonical_hash
from ensemw2s.ensemble.words.choices import StagedChoices, staged_choices
from ensemw2s.ensemble.words.members import SharedTrunk
from ensemw2s.ensemble.words.prefixes import PrefixMembers
from ensemw2s.ensemble.words.scores import StagedScores, score_answers
from ensemw2s.forms.generation.contexts import Prefix
from ensemw2s.forms.generation.prepare import AnswerPrepared
from ensemw2s.forms.generation.role import AnswerRole
from ensemw2s.models.inputs import IdInputs
from ensemw2s.records import AnswerTokens
from ensemw2s.storage.store import Artifact, Store, artifact_key

SCORE_VERSION = 3


@dataclass(frozen=True)
class AnswerVoters:
    """Who answers in a condition: one model, or the chosen experts of an ensemble."""

    role: AnswerRole
    keys: tuple[str, ...]
    """Of their artifacts; none for the pretrained model."""
    states: tuple[dict[str, Tensor], ...]
    weights: Float[Tensor, " experts"]
    prefixes: tuple[Prefix, ...] = ()
    """What each reads before every question; none where all read it alone."""

    @classmethod
    def one(cls, role: AnswerRole, key: str, state: Mapping[str, Tensor]) -> "AnswerVoters":
        """A single trained model."""
        return cls(role, (key,), (dict(state),), torch.ones(1))

    def reading(self, prepared: AnswerPrepared) -> "AnswerVoters":
        """They, with the prompts of this run's split: those of its tests may be worded otherwise."""
        roles = (*prepared.pool, prepared.strong)
        prompts = next(role.prompts for role in roles if role.backbone is self.role.backbone)
        return replace(self, role=replace(self.role, prompts=prompts))

    def members(self) -> SharedTrunk | PrefixMembers:
        """The models, as those who write together."""
        shared = SharedTrunk(self.role.backbone, self.role.load(self.states))
        if not self.prefixes:
            return shared
        return PrefixMembers(shared, [p.ids for p in self.prefixes], max(p.n_start for p in self.prefixes))

    @property
    def deciding(self) -> dict[str, Any]:
        """What decides their answers, beside the questions and the vote: for keys of the store."""
        named = {"voters": list(self.keys), "role": self.role.fingerprint, "weights": self.weights.tolist()}
        return named | ({"prefixes": [p.ids for p in self.prefixes]} if self.prefixes else {})

    @property
    def is_trained(self) -> bool:
        """Whether they were taught where an answer ends; the pretrained model was not."""
        return bool(self.states) and all(self.states)

    @property
    def n_before(self) -> int:
        """Tokens that they read before any question."""
        return sum(len(p.ids) for p in self.prefixes)

    @property
    def n_trunks(self) -> int:
        """How often the trunk reads a question: once for all, or for each behind another text."""
        return max(1, len(self.prefixes))


@dataclass(frozen=True)
class PoolVoters:
    """Experts of a pool's weak models, which share no tokens: they vote on whole answers (`ensemble.answer_votes`)."""

    experts: tuple[AnswerVoters, ...]
    """Each alone."""
    weights: Float[Tensor, " experts"]


@dataclass(frozen=True)
class Right:
    """Which questions are answered truly, by each voter alone and by the first t together, for every t."""

    member: Bool[Tensor, "experts rows"]
    together: Bool[Tensor, "experts rows"]


@dataclass(frozen=True)
class Scorer:
    """Scores given answers, teacher-forced; every size of an ensemble from one evaluation of each expert."""

    prepared: AnswerPrepared
    store: Store

    def scores(self, voters: AnswerVoters, answers: AnswerTokens, rows: Int[Tensor, " rows"]) -> StagedScores:
        """Scores of these rows' answers, from the store or computed."""
        vote = self.prepared.token_vote
        chosen = AnswerTokens(
            tuple(answers.ids[r] for r in rows.tolist()), tuple(answers.prompt_lengths[r] for r in rows.tolist())
        )
        key = artifact_key(
            SCORE_VERSION,
            voters.deciding | {"vote": vote, "answers": canonical_hash(chosen.ids)},
        )

        def compute() -> Artifact:
            if voters.prefixes:
                models, inputs = voters.members(), IdInputs(chosen.read, voters.role.backbone.pad_id)
            else:
                models, inputs = voters.role.load(voters.states), voters.role.open(chosen.read)
            made = score_answers(models, inputs, chosen, torch.arange(len(rows)), weights=voters.weights, vote=vote)
            return Artifact({name: getattr(made, name) for name in StagedScores.__dataclass_fields__}, {})

        return StagedScores(**self.store.memo("scores", key, compute).tensors)

    def right(self, voters: AnswerVoters, rows: Int[Tensor, " rows"], truths: Sequence[str]) -> Right:
        """Whose answers to these questions are the true ones."""
        return right_among(self.prepared, voters.role, rows, truths, lambda answers: self._all(voters, answers))

    def choices(self, voters: AnswerVoters, rows: Int[Tensor, " rows"]) -> StagedChoices:
        """Which of their own options these questions are given."""
        return chosen_options(self.prepared, voters.role, rows, lambda answers: self._all(voters, answers))

    def _all(self, voters: AnswerVoters, answers: AnswerTokens) -> StagedScores:
        return self.scores(voters, answers, torch.arange(len(answers.ids)))


Scored = Callable[[AnswerTokens], StagedScores]
"""Scores of all of these answers."""


def right_among(
    prepared: AnswerPrepared, role: AnswerRole, rows: Int[Tensor, " rows"], truths: Sequence[str], scored: Scored
) -> Right:
    """Whose answers to these questions are the true ones: written token by token, or taken among the options."""
    if prepared.by_choice:
        options, choices = prepared.options(rows), chosen_options(prepared, role, rows, scored)
        true = torch.tensor([each.index(truth) for each, truth in zip(options, truths, strict=True)])
        return Right(choices.member == true, choices.together == true)
    scores = scored(role.answers(rows, truths, prepared.names_of(rows)))
    return Right(*(torch.stack([scores.exact(w) for w in wrong]) for wrong in (scores.member_wrong, scores.wrong)))


def chosen_options(
    prepared: AnswerPrepared, role: AnswerRole, rows: Int[Tensor, " rows"], scored: Scored
) -> StagedChoices:
    """Which of their own options these questions are given."""
    options = prepared.options(rows)
    answers = role.option_answers(rows, options, prepared.names_of(rows))
    return staged_choices(scored(answers), [len(each) for each in options])
