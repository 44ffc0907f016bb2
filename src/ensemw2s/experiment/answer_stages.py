"""The work of one seed of a generation experiment: experts, pseudo-answers, students, each unit through the store."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ensemw2s.config import Recipe, TrainConfig, canonical_hash
from ensemw2s.core.seeds import stream, stream_seed
from ensemw2s.data.splits import Draw
from ensemw2s.ensemble.fit import EnsembleState, Fitted, grow
from ensemw2s.ensemble.label import expert_weights
from ensemw2s.ensemble.scores import StagedScores, staged_scores
from ensemw2s.ensemble.tokens import WeakAnswers, fit_answer_expert, prior_error, trivial_tokens
from ensemw2s.ensemble.write import write_answers
from ensemw2s.errors import DataError
from ensemw2s.experiment.answer_cost import NOTHING, decoding_cost, total, training_cost
from ensemw2s.experiment.answer_prepare import AnswerPrepared, AnswerSide, join, joined_inputs
from ensemw2s.experiment.rows import BEST_SINGLE, SINGLE_LONG
from ensemw2s.experiment.store import Artifact, Store, artifact_key
from ensemw2s.experiment.students import CEILING, SELF, STRONG_ON_EASY, student_key
from ensemw2s.models.adapters import n_trainable, owned_state
from ensemw2s.names import Method
from ensemw2s.results import Cost
from ensemw2s.train.answers import AnswerSupervision, train_answers
from ensemw2s.train.checkpoint import Checkpointer
from ensemw2s.types import AnswerTokens, Expert, Inputs

EXPERT_VERSION = 1
LABEL_VERSION = 1
STUDENT_VERSION = 1


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

    method: Method
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


@dataclass
class AnswerOutcome:
    """What one seed's stages produced."""

    seed: int
    draw: Draw
    ensembles: dict[Method, AnswerEnsemble] = field(default_factory=dict)
    voters: dict[str, Voters] = field(default_factory=dict)
    """Row of the table to who answers."""
    pseudo: dict[str, PseudoAnswers] = field(default_factory=dict)
    """Teacher (a method, or `self`) to its labels."""
    cost: dict[str, Cost] = field(default_factory=dict)
    n_experts: dict[str, int] = field(default_factory=dict)
    student_keys: dict[str, str] = field(default_factory=dict)
    counted: Bool[Tensor, " tokens"] | None = None
    """Which answer tokens of the easy pool count in boosting."""


class AnswerSeed:
    """One seed's share of a generation run; the same interface as `stages.Seed`."""

    def __init__(self, prepared: AnswerPrepared, store: Store, seed: int):
        self.prepared, self.store, self.seed = prepared, store, seed
        self.used: dict[str, list[str]] = {"experts": [], "labels": [], "students": []}
        self.draw = prepared.split.draw(seed)
        self.outcome = AnswerOutcome(seed, self.draw)
        self._prior_error: float | None = None
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

    @property
    def n_units(self) -> tuple[int, int]:
        """Experts and students of this seed, at most: for the progress bars."""
        config = self.prepared.config
        rounds = sum(1 if m == "single" else config.ensemble.n_rounds for m in config.ensemble.methods)
        return rounds + 1, (1 + len(config.ensemble.methods)) * len(config.students.recipes) + 2

    # --- experts -----------------------------------------------------------------------------------------------

    def experts(self) -> Iterator[None]:
        """Train every method's ensemble, round by round, and choose its size on easy-val; yields after each unit."""
        for method in self.prepared.config.ensemble.methods:
            yield from self.ensemble(method)
        yield from self._single_experts()

    def ensemble(self, method: Method) -> Iterator[None]:
        """Train one method's ensemble round by round and choose its size on easy-val; yields after each round."""
        config, side = self.prepared.config, self.prepared.weak
        weak = self._weak(config.expert_training)
        self.outcome.counted = weak.counted
        prior = self._prior(weak)
        state = EnsembleState.start(method, self.seed, weak.n_samples)
        keys: list[str] = []
        while not state.finished:
            key, fitted = self._fitted(weak, state)
            before = len(state.experts)
            state = grow(state, fitted, config.ensemble, prior)
            keys += [key] * (len(state.experts) - before)
            yield
        weights = expert_weights(state.experts, config.ensemble)
        val = self.val_scores(state.experts, tuple(keys), weights)
        size = _best_size(val, config.ensemble.select_by)
        ensemble = AnswerEnsemble(method, self.seed, state.experts, tuple(keys), size, prior, weights)
        self.outcome.ensembles[method] = ensemble
        self.outcome.n_experts[method] = size
        self._voters(method, side, ensemble.keys[:size], [e.state for e in state.experts[:size]], weights[:size])
        self.outcome.cost[method] = total(
            training_cost(side, e.state, e.training_tokens, self._answer_tokens(e)) for e in state.experts
        )

    def _prior(self, weak: WeakAnswers) -> float:
        """The same for every method and length of training: computed once."""
        if self._prior_error is None:
            self._prior_error = prior_error(weak, self.prepared.config.ensemble)
        return self._prior_error

    def val_scores(
        self, experts: tuple[Expert, ...], keys: tuple[str, ...], weights: Float[Tensor, " experts"]
    ) -> StagedScores:
        """Scores on easy-val for every size, from one evaluation of each expert."""
        return self.scores(
            self.prepared.weak, keys, [e.state for e in experts], weights, self.easy["weak"], self.draw.easy_val
        )

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
            LABEL_VERSION,
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
            found = staged_scores(
                side.load(states), weights, side.open(chosen.read), chosen, torch.arange(len(rows)), vote=vote
            )
            return Artifact({name: getattr(found, name) for name in StagedScores.__dataclass_fields__}, {})

        return StagedScores(**self.store.memo("scores", key, compute).tensors)

    def _single_experts(self) -> Iterator[None]:
        """The best member by easy-val, and one expert that is given the whole ensemble's training budget."""
        config, side = self.prepared.config, self.prepared.weak
        best: tuple[float, str, dict[str, Tensor]] | None = None
        for ensemble in self.outcome.ensembles.values():
            val = self.val_scores(ensemble.experts, ensemble.keys, ensemble.weights)
            for expert, key, wrong in zip(ensemble.experts, ensemble.keys, val.member_wrong, strict=True):
                exact = float(val.exact(wrong).double().mean())
                if best is None or exact > best[0]:
                    best = (exact, key, expert.state)
        assert best is not None
        self._voters(BEST_SINGLE, side, (best[1],), [best[2]], torch.ones(1))
        self.outcome.cost[BEST_SINGLE] = total(self.outcome.cost.values())  # choosing cost the training of them all
        training = config.expert_training
        long = training.model_copy(update={"epochs": training.epochs * config.ensemble.n_rounds})
        weak = self._weak(long)
        state = EnsembleState.start("single", self.seed, weak.n_samples)
        key, fitted = self._fitted(weak, state)
        expert = grow(state, fitted, config.ensemble, self._prior(weak)).experts[0]
        self._voters(SINGLE_LONG, side, (key,), [expert.state], torch.ones(1))
        self.outcome.cost[SINGLE_LONG] = training_cost(
            side, expert.state, expert.training_tokens, config.ensemble.n_rounds * self._answer_tokens(expert)
        )
        yield

    def _weak(self, training: TrainConfig) -> WeakAnswers:
        prepared, side, rows = self.prepared, self.prepared.weak, self.draw.easy_train
        answers = self.easy["weak"]
        trivial = trivial_tokens(answers, side.backbone.tokenizer)
        counts = torch.ones_like(trivial) if prepared.config.generation.count_trivial else ~trivial
        return WeakAnswers(
            inputs=side.open(answers.read),
            answers=answers,
            rows=rows,
            group_ids=[str(g) for g in prepared.split.groups[rows].tolist()],
            counted=counts,
            build=side.builder(training),
            training=training,
            generation=prepared.config.generation,
        )

    def _fitted(self, weak: WeakAnswers, state: EnsembleState) -> tuple[str, Fitted]:
        """One expert, from the store or trained; the key holds all that decides it and nothing else."""
        config = self.prepared.config
        ensemble = config.ensemble
        boosted = state.method == "boosting" and bool(state.experts)
        generation = config.generation
        key = artifact_key(
            EXPERT_VERSION,
            {
                "answers": canonical_hash([weak.answers.ids[r] for r in weak.rows.tolist()]),
                "weak": self.prepared.weak.fingerprint,
                "training": weak.training.model_dump(exclude={"micro_batch_size", "checkpoint_steps"}),
                "stream": state.next_stream,
                "draw": "bootstrap" if state.method == "bagging" else ensemble.reweight if boosted else "all",
                "also": generation.bootstrap if boosted else False,
                "weights": canonical_hash(state.sample_weights.tolist()) if boosted else None,
                "samples": [generation.boost_unit, generation.count_trivial],
                "folds": ensemble.n_folds if ensemble.error_source == "folds" else None,
                "groups": weak.group_ids if ensemble.error_source == "folds" else None,
            },
        )

        def compute() -> Artifact:
            fitted = fit_answer_expert(weak, state, ensemble)
            tensors = {f"state/{name}": t for name, t in fitted.state.items()}
            tensors |= {"gold": fitted.log_probs, "is_wrong": fitted.is_wrong}
            return Artifact(tensors, {"training_tokens": fitted.training_tokens})

        found = self._memo("experts", key, compute)
        return key, Fitted(
            {n.removeprefix("state/"): t for n, t in found.tensors.items() if n.startswith("state/")},
            found.tensors["gold"],
            found.tensors["is_wrong"],
            found.record["training_tokens"],
        )

    def _answer_tokens(self, expert: Expert) -> int:
        return self.prepared.config.expert_training.epochs * len(expert.log_probs)

    def _voters(
        self,
        row: str,
        side: AnswerSide,
        keys: tuple[str, ...],
        states: list[dict[str, Tensor]],
        weights: Float[Tensor, " experts"],
    ) -> None:
        self.outcome.voters[row] = Voters(side, keys, tuple(states), weights)

    # --- labels ------------------------------------------------------------------------------------------------

    def label(self) -> Iterator[None]:
        """Let every ensemble answer the unlabelled questions; yields after each."""
        for method, ensemble in self.outcome.ensembles.items():
            pseudo = self._pseudo(self.outcome.voters[method], [f"{method}/{e.seed:016x}" for e in ensemble.experts])
            self.outcome.pseudo[method] = pseudo
            self.outcome.cost[method] = total(
                [self.outcome.cost[method], decoding_cost(self.prepared.weak, ensemble.selected, pseudo.record)]
            )
            yield

    def _pseudo(self, voters: Voters, expert_ids: list[str]) -> PseudoAnswers:
        config, hard = self.prepared.config, self.draw.hard_unlabelled
        decoding = config.generation.decoding
        names = [self.prepared.names[i] for i in hard.tolist()]
        key = artifact_key(
            LABEL_VERSION,
            {
                "voters": list(voters.keys),
                "side": voters.side.fingerprint,
                "weights": voters.weights.tolist(),
                "vote": config.ensemble.vote,
                "prompts": canonical_hash([voters.side.prompts[i] for i in hard.tolist()]),
                "ids": names,
                "decoding": decoding.model_dump(exclude={"batch_rows"}),
                "answer_by": config.generation.answer_by,
                "expert_ids": expert_ids[: len(voters.keys)],
            },
        )

        def compute() -> Artifact:
            side, models, vote = voters.side, voters.side.load(voters.states), config.ensemble.vote
            if config.generation.answer_by == "choices":
                found = side.choose(models, voters.weights, hard, self.prepared.options(hard), vote)
            else:
                prompts = [side.prompts[i] for i in hard.tolist()]
                found = write_answers(
                    side.backbone, models, voters.weights, prompts, decoding, vote=vote, row_ids=names
                )
            record = {
                "ids": names,
                "labels": found,
                "expert_ids": expert_ids[: len(voters.keys)],
                "expert_weights": voters.weights.tolist(),
                "config_hash": canonical_hash(config),
            }
            return Artifact({"confidence": torch.tensor([label["confidence"] for label in found])}, record)

        record = self._memo("labels", key, compute).record
        labels = record["labels"]
        return PseudoAnswers(
            tuple(label["answer"] for label in labels),
            torch.tensor([label["confidence"] for label in labels]),
            torch.tensor([label["agreement"] for label in labels]),
            record,
        )

    # --- students ----------------------------------------------------------------------------------------------

    def students(self) -> Iterator[None]:
        """Train every student of every teacher, the baselines and the ceiling; yields after each."""
        config, side = self.prepared.config, self.prepared.strong
        easy, hard, answers = self.draw.easy_train, self.draw.hard_unlabelled, self.easy["strong"]
        easy_inputs = side.open(answers.read)
        ones = torch.ones(len(answers.targets))
        self._student(STRONG_ON_EASY, easy_inputs, AnswerSupervision(answers, easy, ones), NOTHING)
        yield
        self.outcome.pseudo[SELF] = self._pseudo(self.outcome.voters[STRONG_ON_EASY], ["strong_on_easy"])
        spent = {SELF: self.outcome.cost[STRONG_ON_EASY]} | {m: self.outcome.cost[m] for m in self.outcome.ensembles}
        names = [self.prepared.names[i] for i in hard.tolist()]
        for teacher in (SELF, *self.outcome.ensembles):
            pseudo = self.outcome.pseudo[teacher]
            # A question that nobody answered has nothing to be learned from.
            answered = torch.tensor([i for i, t in enumerate(pseudo.texts) if t.strip()], dtype=torch.long)
            if not len(answered):
                raise DataError(
                    f"seed {self.seed}: the {teacher} ensemble answers none of the {len(hard)} unlabelled questions; "
                    "train it longer (expert_training), or look at generation.decoding.stop"
                )
            given = side.answers(
                hard[answered], [pseudo.texts[i].strip() for i in answered], [names[i] for i in answered]
            )
            both = join(answers, given)
            inputs = joined_inputs(easy_inputs, side.open(given.read))
            for recipe in config.students.recipes:
                supervision = _lesson(recipe, both, len(answers.ids), easy, pseudo, answered)
                key = student_key(teacher, recipe)
                self._student(key, inputs, supervision, spent[teacher])
                if teacher in self.outcome.n_experts:
                    self.outcome.n_experts[key] = self.outcome.n_experts[teacher]
                yield
        sealed = self.prepared.split.sealed["hard_pool"]
        truth = sealed.open("ceiling")[hard - self.prepared.split.pools["hard_pool"].start]
        given = side.answers(hard, [self.prepared.task.choices[k] for k in truth.tolist()], names)
        lesson = AnswerSupervision(given, torch.arange(len(hard)), torch.ones(len(given.targets)))
        self._student(CEILING, side.open(given.read), lesson, NOTHING)
        yield

    def _student(self, row: str, inputs: Inputs, lesson: AnswerSupervision, label_cost: Cost) -> None:
        """Train (or find) one student."""
        side, training = self.prepared.strong, self.prepared.config.student_training
        seed = stream_seed(self.seed, "student")  # one stream for all rows: they differ by their labels alone
        answers, rows = lesson.answers, lesson.rows
        key = artifact_key(
            STUDENT_VERSION,
            {
                "answers": canonical_hash([answers.ids[r] for r in rows.tolist()]),
                "weights": canonical_hash(lesson.weights[answers.tokens_of(rows)].tolist()),
                "strong": side.fingerprint,
                "training": training.model_dump(exclude={"micro_batch_size", "checkpoint_steps"}),
                "stream": seed,
            },
        )

        def compute() -> Artifact:
            module = side.builder(training)(stream(seed, "init"))
            checkpointer = Checkpointer(self.store, key)
            train_answers(module, inputs, lesson, training, seed=seed, checkpointer=checkpointer)
            state = {f"state/{name}": t for name, t in owned_state(module).items()}
            return Artifact(state, {"owned": n_trainable(module)})

        found = self._memo("students", key, compute)
        Checkpointer(self.store, key).clear()
        state = {n.removeprefix("state/"): t for n, t in found.tensors.items()}
        self._voters(row, side, (key,), [state], torch.ones(1))
        tokens = training.epochs * int(inputs.lengths[rows].sum())
        trained = training_cost(side, state, tokens, training.epochs * len(answers.tokens_of(rows)))
        self.outcome.cost[row] = total([label_cost, trained])
        self.outcome.student_keys[row] = key

    def _memo(self, kind: str, key: str, compute: Callable[[], Artifact]) -> Artifact:
        self.used[kind].append(key)
        return self.store.memo(kind, key, compute)


def _lesson(
    recipe: Recipe,
    both: AnswerTokens,
    n_easy_pool: int,
    easy: Int[Tensor, " easy"],
    pseudo: PseudoAnswers,
    answered: Int[Tensor, " answered"],
) -> AnswerSupervision:
    """What a recipe takes of the easy answers (first in `both`) and of the pseudo-answers (after the easy pool)."""
    weights = torch.ones(len(both.targets))
    kept = (pseudo.agreement[answered] >= recipe.min_agreement).nonzero()[:, 0]
    if not len(kept):
        raise DataError(
            f"students.recipes: {recipe.name} keeps no answer, none has an agreement of {recipe.min_agreement:g}; "
            "lower min_agreement"
        )
    rows = n_easy_pool + kept
    if recipe.weigh_by == "confidence":
        confidence = pseudo.confidence[answered][rows - n_easy_pool].float()
        sizes = both.offsets.diff()[rows]
        weights[both.tokens_of(rows)] = (confidence / confidence.mean()).repeat_interleave(sizes)
    if recipe.with_easy:
        rows = torch.cat([easy, rows])
    return AnswerSupervision(both, rows, weights)


def _best_size(val: StagedScores, select_by: str) -> int:
    """T chosen on easy-val; ties go to the smaller ensemble."""
    if select_by == "accuracy":
        scores = [float(val.exact(wrong).double().mean()) for wrong in val.wrong]
    else:
        scores = val.gold.double().mean(1).tolist()
    return max(range(len(scores)), key=scores.__getitem__) + 1
