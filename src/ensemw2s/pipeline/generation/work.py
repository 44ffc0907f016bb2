"""One seed of a generation experiment: what its stages share, and the records that pass between them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ensemw2s.config import canonical_hash
from ensemw2s.data.splits import Draw
from ensemw2s.ensemble.choices import StagedChoices, staged_choices
from ensemw2s.ensemble.scores import StagedScores, staged_scores
from ensemw2s.errors import DataError
from ensemw2s.forms.generation.prepare import AnswerPrepared, AnswerSide
from ensemw2s.records import AnswerTokens, Expert
from ensemw2s.results import Cost
from ensemw2s.storage.store import Artifact, Store, artifact_key

SCORE_VERSION = 3


@dataclass(frozen=True)
class Voters:
    """Who answers in a row of the table: one model, or the chosen experts of an ensemble."""

    side: AnswerSide
    keys: tuple[str, ...]
    """Of their artifacts, for cache keys."""
    states: tuple[dict[str, Tensor], ...]
    weights: Float[Tensor, " experts"]


@dataclass(frozen=True)
class AnswerEnsemble:
    """All experts of one method and seed, and how many of them vote."""

    method: str
    seed: int
    experts: tuple[Expert, ...]
    keys: tuple[str, ...]
    selected: int
    prior_error: float
    weights: Float[Tensor, " experts"]


@dataclass(frozen=True)
class PseudoAnswers:
    """What an ensemble (or the strong model itself) writes for the unlabelled questions."""

    texts: tuple[str, ...]
    confidence: Float[Tensor, " rows"]
    agreement: Float[Tensor, " rows"]
    """Share of the voting experts whose own answer it is."""
    record: dict[str, Any]
    """As it is kept: members' answers, token log-probabilities, expert ids and weights, configuration."""


@dataclass(frozen=True)
class Right:
    """Which questions are answered truly, by each voter alone and by the first t together."""

    member: Bool[Tensor, "experts rows"]
    together: Bool[Tensor, "experts rows"]


@dataclass
class AnswerOutcome:
    """What one seed's stages produced."""

    seed: int
    draw: Draw
    ensembles: dict[str, AnswerEnsemble] = field(default_factory=dict)
    voters: dict[str, Voters] = field(default_factory=dict)
    """Row of the table to who answers."""
    pseudo: dict[str, PseudoAnswers] = field(default_factory=dict)
    """Teacher (a method, or `self`) to its labels."""
    cost: dict[str, Cost] = field(default_factory=dict)
    n_experts: dict[str, int] = field(default_factory=dict)
    student_keys: dict[str, str] = field(default_factory=dict)
    chosen: str | None = None
    """Row that `auto` stands for."""
    counted: Bool[Tensor, " tokens"] | None = None
    """Which answer tokens of the easy pool count in boosting."""


class AnswerWork:
    """What the stages of one seed share: the draw, the easy answers, the store, and what has come out so far."""

    def __init__(self, prepared: AnswerPrepared, store: Store, seed: int):
        self.prepared, self.store, self.seed = prepared, store, seed
        self.used: list[tuple[str, str]] = []
        """Kind and key of every artifact, in the order of use."""
        self.draw = prepared.split.draw(seed)
        self.outcome = AnswerOutcome(seed, self.draw)
        self.prior_error: float | None = None
        texts = prepared.easy_texts
        self.easy = {
            name: side.answers(torch.arange(len(texts)), texts, prepared.names[: len(texts)])
            for name, side in (("weak", prepared.weak), ("strong", prepared.strong))
        }
        ensemble = prepared.config.ensemble
        n_groups = len(prepared.split.groups[self.draw.easy_train].unique())
        if ensemble.error_source == "folds" and n_groups < ensemble.n_folds:
            raise DataError(
                f"seed {seed}: ensemble.n_folds ({ensemble.n_folds}) exceeds the {n_groups} groups of the training "
                "examples; lower it, or raise split.n_easy_train"
            )

    def val_right(
        self, experts: tuple[Expert, ...], keys: tuple[str, ...], weights: Float[Tensor, " experts"]
    ) -> Right:
        """Right answers on easy-val for every size, from one evaluation of each expert."""
        rows = self.draw.easy_val
        voters = Voters(self.prepared.weak, keys, tuple(e.state for e in experts), weights)
        return self.right(voters, rows, [self.prepared.easy_texts[r] for r in rows.tolist()])

    def val_scores(
        self, experts: tuple[Expert, ...], keys: tuple[str, ...], weights: Float[Tensor, " experts"]
    ) -> StagedScores:
        """Scores on easy-val for every size."""
        return self.scores(
            self.prepared.weak, keys, [e.state for e in experts], weights, self.easy["weak"], self.draw.easy_val
        )

    def right(self, voters: Voters, rows: Int[Tensor, " rows"], truths: Sequence[str]) -> Right:
        """Whose answers to these questions are the true ones: written token by token, or taken among the options."""
        if self.prepared.config.generation.answer_by == "choices":
            options = self.prepared.options(rows)
            chosen = self.choices(voters, rows)
            true = torch.tensor([each.index(truth) for each, truth in zip(options, truths, strict=True)])
            return Right(chosen.member == true, chosen.together == true)
        names = [self.prepared.names[r] for r in rows.tolist()]
        answers = voters.side.answers(rows, truths, names)
        found = self.scores(
            voters.side, voters.keys, list(voters.states), voters.weights, answers, torch.arange(len(rows))
        )
        return Right(*(torch.stack([found.exact(w) for w in wrong]) for wrong in (found.member_wrong, found.wrong)))

    def choices(self, voters: Voters, rows: Int[Tensor, " rows"]) -> StagedChoices:
        """Which of their own options these questions are given."""
        options = self.prepared.options(rows)
        answers = voters.side.option_answers(rows, options, [self.prepared.names[r] for r in rows.tolist()])
        places = torch.arange(len(answers.ids))
        found = self.scores(voters.side, voters.keys, list(voters.states), voters.weights, answers, places)
        return staged_choices(found, [len(each) for each in options])

    def scores(
        self,
        side: AnswerSide,
        keys: tuple[str, ...],
        states: list[dict[str, Tensor]],
        weights: Float[Tensor, " experts"],
        answers: AnswerTokens,
        rows: Int[Tensor, " rows"],
    ) -> StagedScores:
        """Teacher-forced scores of given answers, from the store or computed."""
        vote = self.prepared.config.ensemble.vote
        key = artifact_key(
            SCORE_VERSION,
            {
                "voters": list(keys),
                "side": side.fingerprint,
                "weights": weights.tolist(),
                "vote": vote,
                "answers": canonical_hash([answers.ids[r] for r in rows.tolist()]),
            },
        )

        def compute() -> Artifact:
            chosen = AnswerTokens(
                tuple(answers.ids[r] for r in rows.tolist()), tuple(answers.prompt_lengths[r] for r in rows.tolist())
            )
            models = side.load(states) if states else [side.untrained()]
            found = staged_scores(models, weights, side.open(chosen.read), chosen, torch.arange(len(rows)), vote=vote)
            return Artifact({name: getattr(found, name) for name in StagedScores.__dataclass_fields__}, {})

        return StagedScores(**self.store.memo("scores", key, compute).tensors)

    def set_voters(
        self,
        row: str,
        side: AnswerSide,
        keys: tuple[str, ...],
        states: list[dict[str, Tensor]],
        weights: Float[Tensor, " experts"],
    ) -> None:
        """Say who answers in a row of the table."""
        self.outcome.voters[row] = Voters(side, keys, tuple(states), weights)

    def memo(self, kind: str, key: str, compute: Callable[[], Artifact]) -> Artifact:
        """From the store, or computed and kept; noted for the stage's manifest."""
        self.used.append((kind, key))
        return self.store.memo(kind, key, compute)
